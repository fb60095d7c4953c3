"""A trial that promises less than others is given up after a validation."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytorch_lightning as pl

from distill.ops.ranks import agree
from distill.training.callbacks.monitor import validation_metric


class TrialPruned(Exception):
    """The fit was stopped for good: it must not be tested, compared or kept.

    Args:
        validations: How many there were.
    """

    def __init__(self, validations: int) -> None:
        super().__init__(f"given up after {validations} validation{'s' if validations != 1 else ''}")
        self.validations = validations


class PruneTrial(pl.Callback):
    """Reports a metric after each validation of a fit and stops the fit when told to, on all ranks together.

    Steps are numbers of validations, from 1; a run that goes on from a checkpoint goes on counting.

    Args:
        metric: Name of the metric.
        report: Takes a step and a value and returns whether to stop; called on rank 0 only.
    """

    def __init__(self, metric: str, report: Callable[[int, float], bool] | None) -> None:
        self.metric = metric
        self.report = report
        self.validations = 0
        self.pruned = False

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stops a fit that goes on though it had been told to stop."""
        if self.pruned:
            trainer.should_stop = True

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Reports, and stops.

        Raises:
            ConfigError: The metric is not measured.
        """
        if trainer.state.fn != "fit":
            return
        self.validations += 1
        value = validation_metric(trainer, self.metric, "study.objective")
        known = trainer.is_global_zero and math.isfinite(value)  # of NaN, a pruner would give up the trial
        stop = known and self.report is not None and self.report(self.validations, value)
        if agree(stop):
            self.pruned = trainer.should_stop = True

    def state_dict(self) -> dict[str, Any]:
        """Keeps the number of validations, and whether it was told to stop."""
        return {"validations": self.validations, "pruned": self.pruned}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Goes on counting."""
        self.validations, self.pruned = int(state_dict["validations"]), bool(state_dict["pruned"])
