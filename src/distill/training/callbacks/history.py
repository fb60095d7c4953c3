"""After a restart the metric history is that of a run that was never interrupted: each value once."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.loggers import TensorBoardLogger

from distill.ops.ranks import rank

_KEY = "distill_metric_history"


class MetricHistory(pl.Callback):
    """Keeps the length of the event files in the checkpoint and cuts them to it on resume.

    What was logged between the checkpoint and the interruption is logged again; cutting by length is exact where
    TensorBoard's own purging goes by steps and only hides.

    Args:
        directory: Folder of the event files of this model; what a run without a checkpoint finds there is deleted.
    """

    def __init__(self, directory: str) -> None:
        self.directory = Path(directory)
        self._earlier = _event_files(self.directory)  # before this process opens a file of its own
        self._lengths: dict[str, int] = {}

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Adds the length of each file in bytes, everything logged so far included."""
        for logger in trainer.loggers:
            if trainer.is_global_zero and isinstance(logger, TensorBoardLogger):
                logger.experiment.flush()
        checkpoint[_KEY] = {path.name: path.stat().st_size for path in _event_files(self.directory)}

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Keeps the lengths until training starts."""
        self._lengths = dict(checkpoint.get(_KEY, {}))

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Cuts or deletes the files of earlier processes."""
        if rank() != 0:
            return
        for path in self._earlier:
            if path.name in self._lengths:
                os.truncate(path, min(self._lengths[path.name], path.stat().st_size))
            else:
                path.unlink(missing_ok=True)


def _event_files(directory: Path) -> list[Path]:
    return sorted(directory.glob("events.out.tfevents.*"))
