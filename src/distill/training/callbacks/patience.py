"""Early stopping that a metric without a value does not move."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytorch_lightning as pl
from pytorch_lightning.callbacks import EarlyStopping
from pytorch_lightning.callbacks.early_stopping import EarlyStoppingReason


class Patience(EarlyStopping):
    """Ends training after so many validations without an improvement.

    A validation whose metric is not finite counts neither as one nor as an end. A fit that ended so before it was
    interrupted (say, while it was tested) has ended: it trains no further when it is resumed. Where the learning rate
    goes in cycles, training ends at the end of one only: in between, the model has not settled.

    Args:
        monitor: The metric.
        mode: max | min.
        patience: Validations without an improvement.
        min_delta: The least change that is an improvement.
        cycles: After how many epochs the cycles of the learning rate end; None without any.
    """

    def __init__(
        self, monitor: str, mode: str, patience: int, min_delta: float, cycles: Sequence[int] | None = None
    ) -> None:
        self._cycles = cycles
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
            with self._until_the_cycle_ends(trainer):
                super().on_train_epoch_end(trainer, pl_module)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Counts, if they come otherwise."""
        if self._has_value(trainer):
            with self._until_the_cycle_ends(trainer):
                super().on_validation_end(trainer, pl_module)

    @contextmanager
    def _until_the_cycle_ends(self, trainer: pl.Trainer) -> Iterator[None]:
        """Has no end of patience meanwhile."""
        done, every = trainer.current_epoch + 1, trainer.check_val_every_n_epoch or 1
        settled = trainer.is_last_batch and any(done - every < end <= done for end in self._cycles or ())
        patience = self.patience
        if self._cycles is not None and not settled:
            self.patience = sys.maxsize
        try:
            yield
        finally:
            self.patience = patience

    def _has_value(self, trainer: pl.Trainer) -> bool:
        value = trainer.callback_metrics.get(self.monitor)
        return value is None or math.isfinite(float(value))
