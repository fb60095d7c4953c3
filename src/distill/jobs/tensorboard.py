"""Final metrics as HParams, and the resolved config as text, so that TensorBoard can compare runs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import hparams

from distill.jobs.node import plain
from distill.reports.summary import Summary

_LEFT_OUT = ("paths", "logger", "metrics", "resume", "study")


def log_comparison(folder: Path, summary: Summary, cfg: DictConfig) -> None:
    """Writes one event file with the parameters and the test metrics of a run, each role in its own sub-folder."""
    parameters = flat_parameters(plain(cfg))
    text = f"```yaml\n{OmegaConf.to_yaml(cfg, resolve=True)}\n```"
    for role, values in summary.metrics.items():
        metrics = {f"test/{name}": value for name, value in values.items()}
        if role == "distilled":
            metrics |= {f"gap_recovered/{name}": value for name, value in summary.gap_recovered.items()}
        with SummaryWriter(str(folder / "test" / role)) as writer:
            for event in hparams({**parameters, "role": role}, metrics):  # type: ignore[no-untyped-call]
                writer.file_writer.add_summary(event)
            for name, value in metrics.items():
                writer.add_scalar(name, value, 0)
            writer.add_text("config", text, 0)


def flat_parameters(config: Mapping[str, Any], prefix: str = "") -> dict[str, bool | int | float | str]:
    """Flattens a config to dotted names; lists become text; whole groups that are no parameter are left out."""
    flat: dict[str, bool | int | float | str] = {}
    for key, value in config.items():
        if not prefix and key in _LEFT_OUT:
            continue
        if isinstance(value, Mapping):
            flat |= flat_parameters(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value if isinstance(value, (bool, int, float, str)) else str(value)
    return flat
