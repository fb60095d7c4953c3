"""Why and when a fit ended, and which of its checkpoints was the best."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import pytorch_lightning as pl

from distill.training.callbacks.monitor import CheckMonitor
from distill.training.callbacks.patience import Patience
from distill.training.callbacks.validated import validation_of
from distill.training.idle_hooks import callbacks_of

Reason = Literal["max_epochs", "max_steps", "patience", "one_pass", "callback"]


@dataclass(frozen=True)
class Ending:
    """How a fit ended.

    Attributes:
        reason: `max_epochs` or `max_steps`: as planned; `patience`: the monitored metric did not get better for so many
            validations; `one_pass`: the model is fitted in one pass; `callback`: something else asked the trainer to.
        planned_epochs: As many as were asked for.
        monitor: The metric that the best checkpoint is chosen by.
        best_epoch: The epoch, counted from 1, at whose validation the checkpoint that is used was written.
        best_step: Optimiser steps until then.
        best_value: The metric there; null if it had no value in any validation, so that the last weights are used.
        undefined: Validations at which the metric was not finite.
    """

    reason: Reason
    planned_epochs: int
    monitor: str
    best_epoch: int
    best_step: int
    best_value: float | None
    undefined: int = 0

    def says(self, role: str, epochs: int, steps: int, checkpoint: str) -> str:
        """Describes it in two lines.

        Args:
            role: teacher | control | student | model.
            epochs: That were trained.
            steps: Optimiser steps that were trained.
            checkpoint: Path of the one that is used.
        """
        why = {
            "max_epochs": "as planned (trainer.max_epochs)",
            "max_steps": "as planned (trainer.max_steps)",
            "patience": f"{self.monitor} did not get better any more (callbacks.patience)",
            "one_pass": "it is fitted in one pass",
            "callback": "a callback or a limit of the trainer ended it",
        }[self.reason]
        best = f"last: {self.monitor} had no value, so that the last weights are used"
        if self.best_value is not None:
            best = f"best: {self.monitor} {self.best_value:.4f} after epoch {self.best_epoch} (step {self.best_step})"
        undefined = (
            f"; it had no value in {self.undefined} validations"
            if self.undefined and self.best_value is not None
            else ""
        )
        done = f"ended after {epochs} of {self.planned_epochs} epochs ({steps} steps)"
        return f"{role:<9} {done}: {why}\n{role:<9} {best}{undefined}, {checkpoint}"


def ending_of(trainer: pl.Trainer, best: Mapping[str, Any], monitor: str, planned_epochs: int) -> Ending:
    """Returns how a trainer has just ended a fit.

    Args:
        trainer: After the fit.
        best: The checkpoint that is used; no tensors are looked at.
        monitor: The metric that it is chosen by.
        planned_epochs: 0 of a model that was fitted in one pass, without the trainer.
    """
    value = validation_of(best).get(monitor, math.nan)
    checks = [c for c in callbacks_of(trainer) if isinstance(c, CheckMonitor)]
    return Ending(
        reason=_reason(trainer) if planned_epochs else "one_pass",
        planned_epochs=max(1, planned_epochs),
        monitor=monitor,
        best_epoch=int(best["epoch"]) + 1,
        best_step=int(best["global_step"]),
        best_value=value if math.isfinite(value) else None,
        undefined=sum(check.undefined for check in checks),
    )


def _reason(trainer: pl.Trainer) -> Reason:
    if 0 < trainer.max_steps <= trainer.global_step:
        return "max_steps"
    if trainer.max_epochs is not None and 0 <= trainer.max_epochs <= trainer.current_epoch:
        return "max_epochs"
    ran_out = any(isinstance(c, Patience) and c.ran_out for c in trainer.early_stopping_callbacks)
    return "patience" if ran_out else "callback"
