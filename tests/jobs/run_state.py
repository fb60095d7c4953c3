"""What must be equal between a run and one that was interrupted: checkpoint, metric history, summary."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from distill.reports.summary import load_summary
from distill.training.checkpoint_io import read_checkpoint

_OF_A_RUN = ("distill_metric_history",)  # names and lengths of files


def checkpoint_state(folder: Path) -> dict[str, Any]:
    """All of a run's last checkpoint: weights, optimiser, schedules, loops, data, callbacks, random state."""
    checkpoint = read_checkpoint(folder / "checkpoints" / "last.ckpt")
    return {name: _without(value, str(folder)) for name, value in checkpoint.items() if name not in _OF_A_RUN}


def history(folder: Path, role: str) -> dict[str, list[tuple[int, float]]]:
    """Tag to all (step, value) of all event files, nothing purged; times are left out."""
    reader = EventAccumulator(str(folder / "tensorboard" / role), {"scalars": 0}, purge_orphaned_data=False)
    reader.Reload()
    return {
        tag: [(e.step, 0.0 if tag == "train/data_wait" else e.value) for e in reader.Scalars(tag)]
        for tag in reader.Tags()["scalars"]
    }


def summary_state(folder: Path) -> dict[str, Any]:
    """The summary as text (NaN equals NaN) without its times and costs, its command, its places and what came from the
    cache."""
    summary = load_summary(folder)
    left_out = ("seconds", "cost", "overrides", "cached", "name", "config_hash", "folder", "checkpoints")
    return {k: json.dumps(v, default=repr) for k, v in vars(summary).items() if k not in left_out}


def difference(a: Any, b: Any, place: str = "") -> str | None:
    """Returns the first place where two nested values differ, None if they are equal bit for bit."""
    if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor):
        return None if a.dtype == b.dtype and torch.equal(a, b) else place
    if isinstance(a, dict) and isinstance(b, dict):
        if a.keys() != b.keys():
            return f"{place}: {sorted(map(str, a.keys() ^ b.keys()))}"
        return next((d for k in a if (d := difference(a[k], b[k], f"{place}/{k}"))), None)
    if isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)):
        if len(a) != len(b):
            return f"{place}: {len(a)} and {len(b)} values"
        pairs = enumerate(zip(a, b, strict=True))
        return next((d for i, (x, y) in pairs if (d := difference(x, y, f"{place}[{i}]"))), None)
    return None if repr(a) == repr(b) else f"{place}: {a!r} and {b!r}"


def _without(value: Any, folder: str) -> Any:
    if isinstance(value, str):
        return value.replace(folder, "RUN")
    if isinstance(value, dict):
        return {_without(k, folder): _without(v, folder) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without(v, folder) for v in value]
    return value
