"""Early stopping that a metric without a value does not move."""

from __future__ import annotations

import math

import pytorch_lightning as pl
from pytorch_lightning.callbacks import EarlyStopping
from pytorch_lightning.callbacks.early_stopping import EarlyStoppingReason


class Patience(EarlyStopping):
    """Ends training after so many validations without an improvement.

    A validation whose metric is not finite counts neither as one nor as an end. A fit that ended so before it was
    interrupted (say, while it was tested) has ended: it trains no further when it is resumed.

    Args:
        monitor: The metric.
        mode: max | min.
        patience: Validations without an improvement.
        min_delta: The least change that is an improvement.
    """

    def __init__(self, monitor: str, mode: str, patience: int, min_delta: float) -> None:
        # not strict: with max_steps the last epoch may end without a validation
        super().__init__(monitor, min_delta, patience, mode=mode, strict=False, check_finite=False)

    @property
    def ran_out(self) -> bool:
        """Whether it ended the fit."""
        return self.stopping_reason == EarlyStoppingReason.PATIENCE_EXHAUSTED

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Ends a fit that had ended."""
        if self.ran_out:
            trainer.should_stop = True

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Counts, if validations come once an epoch."""
        if self._has_value(trainer):
            super().on_train_epoch_end(trainer, pl_module)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Counts, if they come otherwise."""
        if self._has_value(trainer):
            super().on_validation_end(trainer, pl_module)

    def _has_value(self, trainer: pl.Trainer) -> bool:
        value = trainer.callback_metrics.get(self.monitor)
        return value is None or math.isfinite(float(value))
