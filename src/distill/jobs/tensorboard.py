"""What a run leaves for TensorBoard: final metrics with HParams and the resolved config, and no failure unsaid."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from omegaconf import DictConfig, OmegaConf
from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import hparams

from distill.jobs.overridden import overridden
from distill.reports.summary import Summary

_WRITERS = "tensorboard.summary.writer.event_file_writer"  # the module of the threads that write event files


@contextmanager
def event_files_written() -> Iterator[None]:
    """Within the block a disk that fails under a thread which writes event files is one error of the block.

    TensorBoard raises it where the next value is logged, and besides lets the thread print a traceback; an error behind
    the last value it does not tell at all.

    Raises:
        OSError: An event file could not be written, and nothing else ended the block.
    """
    failed: list[BaseException] = []
    printing = threading.excepthook

    def keep(arguments: threading.ExceptHookArgs) -> None:
        if type(arguments.thread).__module__ == _WRITERS and isinstance(arguments.exc_value, OSError):
            failed.append(arguments.exc_value)
        else:
            printing(arguments)

    threading.excepthook = keep
    try:
        yield
        if failed:
            raise failed[0]
    finally:
        threading.excepthook = printing


def log_comparison(folder: Path, summary: Summary, cfg: DictConfig) -> None:
    """Writes one event file with what was overridden or swept and the test metrics, each role in its own sub-folder."""
    parameters = overridden(cfg)
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
