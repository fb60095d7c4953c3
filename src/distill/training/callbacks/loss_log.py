"""The loss and its terms, logged before a checkpoint of the same step is written."""

from __future__ import annotations

from typing import Any, ClassVar

import pytorch_lightning as pl
import torch

from distill.ops.ranks import mean_over_ranks
from distill.training.module import RankingModule


class LossLog(pl.Callback):
    """Logs `train/loss`, each of its terms and, with several, their weights: the mean over ranks.

    Lightning writes what `self.log` collects after the callbacks of a step, so that a checkpoint would not cover it
    and a resumed run would lack it.

    Args:
        every: Optimiser steps between two logs; 0 logs nothing. A step of several batches has the loss of its last.
    """

    plain_steps: ClassVar[str] = "called"

    def __init__(self, every: int) -> None:
        self.every = every
        self._logged = 0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Goes on behind the last step of a run that was interrupted."""
        self._logged = trainer.global_step

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Logs at every so many steps."""
        report = pl_module.last_report if isinstance(pl_module, RankingModule) else None
        step = trainer.global_step
        if report is None or self.every == 0 or step % self.every != 0 or step == self._logged:
            return
        self._logged = step
        values = {"train/loss": report.total.detach()}
        values |= {f"train/loss_{name}": value for name, value in report.parts.items()}
        if len(report.parts) > 1:
            values |= {f"train/weight_{name}": torch.as_tensor(value) for name, value in report.weights.items()}
        stacked = torch.stack([value.to(pl_module.device, torch.float32) for value in values.values()])
        means = dict(zip(values, mean_over_ranks(stacked).tolist(), strict=True))
        # What Lightning collects from `log`, its progress bar would fetch from the device at every step.
        trainer.callback_metrics["train/loss"] = torch.tensor(means["train/loss"])
        trainer.progress_bar_metrics["train/loss"] = means["train/loss"]
        for logger in trainer.loggers:
            logger.log_metrics({**means, "epoch": trainer.current_epoch}, step=trainer.global_step - 1)
