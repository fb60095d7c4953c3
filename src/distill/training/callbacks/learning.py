"""How a model learned: the monitored metric and the loss at each validation, over restarts too."""

from __future__ import annotations

import math
from typing import Any

import pytorch_lightning as pl

from distill.metrics.learning import LearningCurve

_KEY = "distill_learning"


class Learning(pl.Callback):
    """Keeps the learning curve of a fit, in checkpoints too, so that a resumed one has it whole.

    Args:
        monitor: The metric.
    """

    def __init__(self, monitor: str) -> None:
        self.curve = LearningCurve(monitor)
        self._loss: float | None = None

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Takes the loss, which validation may hide."""
        self._take_loss(trainer)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Adds a point; one of the same step again takes its place."""
        curve = self.curve
        if curve.step and curve.step[-1] == trainer.global_step:
            for column in (curve.step, curve.value, curve.loss):
                column.pop()
        curve.step.append(trainer.global_step)
        curve.value.append(_finite(trainer.callback_metrics.get(curve.monitor)))
        curve.loss.append(self._loss)

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Adds the points, and the loss that a validation behind the checkpoint may have to show."""
        self._take_loss(trainer)
        curve = self.curve
        checkpoint[_KEY] = {
            "points": [list(curve.step), list(curve.value), list(curve.loss)],
            "loss": self._loss,
        }

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Goes on behind them."""
        kept = checkpoint.get(_KEY)
        if kept is not None:  # a checkpoint of an earlier version has none
            self.curve = LearningCurve(self.curve.monitor, *map(list, kept["points"]))
            self._loss = kept["loss"]

    def _take_loss(self, trainer: pl.Trainer) -> None:
        found = _finite(trainer.callback_metrics.get("train/loss"))
        self._loss = self._loss if found is None else found


def _finite(value: Any) -> float | None:
    number = math.nan if value is None else float(value)
    return number if math.isfinite(number) else None
