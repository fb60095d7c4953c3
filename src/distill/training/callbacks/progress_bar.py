"""The progress bar of a fit."""

from __future__ import annotations

from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import TQDMProgressBar


class NamedProgressBar(TQDMProgressBar):
    """Lightning's progress bar, which also says which model is trained.

    Args:
        role: teacher | control | student.
    """

    def __init__(self, role: str) -> None:
        super().__init__(refresh_rate=10)
        self.role = role

    def init_train_tqdm(self) -> Any:
        """Returns the bar of an epoch."""
        bar = super().init_train_tqdm()
        bar.leave = False
        return bar

    @property
    def train_description(self) -> str:
        """What stands before the epoch."""
        return self.role

    def on_train_epoch_start(self, trainer: pl.Trainer, *_: Any) -> None:
        """Names the model and the epoch."""
        super().on_train_epoch_start(trainer)
        self.train_progress_bar.set_description(f"{self.role} epoch {trainer.current_epoch + 1}/{trainer.max_epochs}")
