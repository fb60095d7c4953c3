"""A line for each validation, on the screen and in the log file."""

from __future__ import annotations

import logging
import math
import time
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import ModelCheckpoint

from distill.training.callbacks.monitor import validation_metric

_log = logging.getLogger(__name__)


class ValidationLine(pl.Callback):
    """Says epoch, step, the monitored metric, the best so far, and the seconds since the line before, of which the
    validation took its part.

    Args:
        monitor: Name of the metric.
        mode: max | min.
        role: Which model is trained.
    """

    def __init__(self, monitor: str, mode: str, role: str) -> None:
        self.monitor = monitor
        self.choose = max if mode == "max" else min
        self.role = role
        self._start = 0.0
        self._validation = 0.0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Starts the clock."""
        self._start = time.monotonic()

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Starts that of the validation."""
        self._validation = time.monotonic()

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Says it; Lightning chooses the best checkpoint only after this."""
        if trainer.state.fn != "fit" or not trainer.is_global_zero:
            return
        value, now = validation_metric(trainer, self.monitor, "callbacks.monitor"), time.monotonic()
        whole, validation = now - self._start, now - self._validation
        self._start = now
        _log.info(
            "%-9s epoch %d/%s  step %5d  %s %.4f  best %s  %.1f s (val %.1f)",
            *(self.role, trainer.current_epoch + 1, trainer.max_epochs, trainer.global_step),
            *(self.monitor.removeprefix("val/"), value, self._best(trainer, value), whole, validation),
        )

    def _best(self, trainer: pl.Trainer, value: float) -> str:
        callback: Any = trainer.checkpoint_callback
        before = callback.best_model_score if isinstance(callback, ModelCheckpoint) else None
        finite = [v for v in (value, math.nan if before is None else float(before)) if math.isfinite(v)]
        return f"{self.choose(finite):.4f}" if finite else "none"
