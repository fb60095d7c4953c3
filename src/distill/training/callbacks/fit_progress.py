"""How far a fit or a test is."""

from __future__ import annotations

import time
from typing import Any, ClassVar

import pytorch_lightning as pl
from pytorch_lightning.callbacks import ProgressBar

from distill.screen.meters import Meter, Meters

_SECONDS = 0.1  # between two looks: a step in between costs a look at the clock


class FitProgress(ProgressBar):
    """A bar that says which model is trained, or without a terminal a line now and then.

    Lightning's own bars draw at each step, know no screen but theirs, and leave bars of validations behind.

    Args:
        role: teacher | control | student | model.
    """

    plain_steps: ClassVar[str] = "called"

    def __init__(self, role: str) -> None:
        super().__init__()
        self.role = role
        self._enabled = True
        self._meters: Meters | None = None
        self._meter = self._inner = Meter()
        self._due = 0.0

    def enable(self) -> None:
        """Shows it."""
        self._enabled = True

    def disable(self) -> None:
        """Shows nothing, as on all ranks but the first."""
        self._enabled = False

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Begins, also within an epoch, where Lightning tells of no start of it."""
        self._open("steps")
        self.on_train_epoch_start(trainer, pl_module)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Begins the bar of an epoch."""
        self._meter.end()
        name = f"{self.role} epoch {trainer.current_epoch + 1}/{trainer.max_epochs}"
        self._meter = self._begin(name, self.total_train_batches)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Shows the step and the loss that was logged last."""
        if self._is_due():
            loss = trainer.progress_bar_metrics.get("train/loss")  # a number: nothing waits for the device
            self._meter.reach(batch_idx + 1, "" if loss is None else f"loss {loss:.4g}")

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Begins the bar of a validation, below that of the epoch."""
        self._open("batches")
        self._inner = self._begin(f"{self.role} validation", sum(trainer.num_val_batches))

    def on_validation_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Shows the batch."""
        if self._is_due():
            self._inner.reach(batch_idx + 1)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Takes the bar of a validation away."""
        self._inner.end()
        self._inner = Meter()

    def on_test_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Begins the bar of a test."""
        self._open("batches")
        self._inner = self._begin(f"{self.role} test", sum(trainer.num_test_batches))

    def on_test_batch_end(self, *arguments: Any, **named: Any) -> None:
        """Shows the batch."""
        self.on_validation_batch_end(*arguments, **named)

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Takes all bars away, before the error is told."""
        self._close()

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Takes all bars away."""
        self._close()

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Takes all bars away."""
        self._close()

    def _open(self, unit: str) -> None:
        if self._meters is None:
            self._meters = Meters(self._enabled, unit, keep=False).__enter__()

    def _close(self) -> None:
        if self._meters is not None:
            self._meters.__exit__(None, None, None)
        self._meters, self._meter, self._inner = None, Meter(), Meter()

    def _begin(self, name: str, total: float) -> Meter:
        self._due = 0.0
        return Meter() if self._meters is None else self._meters.begin(name, total)

    def _is_due(self) -> bool:
        now = time.monotonic()
        if now < self._due:
            return False
        self._due = now + _SECONDS
        return True
