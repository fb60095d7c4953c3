"""How a model learned: the monitored metric and the loss at each validation, over restarts too."""

from __future__ import annotations

import math
from typing import Any

import pytorch_lightning as pl

from distill.errors import DataError
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
        """Goes on behind them.

        Raises:
            DataError: They are not those of a learning curve.
        """
        kept = checkpoint.get(_KEY)
        if kept is None:  # a checkpoint of an earlier version has none
            return
        try:
            steps, values, losses = kept["points"]
            self.curve = LearningCurve(self.curve.monitor, _steps(steps), *map(_numbers, (values, losses)))
            (self._loss,) = _numbers([kept["loss"]])
            if not len(steps) == len(values) == len(losses):
                raise ValueError("columns of different lengths")
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(
                "The checkpoint's learning curve cannot be read.",
                where=_KEY,
                expected="steps, and a number or none of each for metric and loss",
                found=str(error)[:200],
                remedy="Use another checkpoint, or train again.",
            ) from error

    def _take_loss(self, trainer: pl.Trainer) -> None:
        found = _finite(trainer.callback_metrics.get("train/loss"))
        self._loss = self._loss if found is None else found


def _steps(found: Any) -> list[int]:
    if any(type(step) is not int for step in found):
        raise ValueError("a step that is not a whole number")
    return list(found)


def _numbers(found: Any) -> list[float | None]:
    if any(value is not None and type(value) not in (int, float) for value in found):
        raise ValueError("a value that is not a number")
    return list(found)


def _finite(value: Any) -> float | None:
    number = math.nan if value is None else float(value)
    return number if math.isfinite(number) else None
