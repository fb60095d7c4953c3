"""How much of the training time is spent waiting for data."""

from __future__ import annotations

import time

import pytorch_lightning as pl

from distill.data.datamodule import RankingDataModule


class DataWait(pl.Callback):
    """Logs `train/data_wait`, the share of an epoch's wall time that training waited for data.

    It is written before the checkpoint at the end of the epoch, not after as Lightning would: a run that goes on from
    that checkpoint has it.
    """

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Starts the clock of an epoch that goes on after a restart."""
        self.on_train_epoch_start(trainer, pl_module)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Starts the clock."""
        self._start = time.perf_counter()
        self._waited = self._data_wait(trainer)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Logs the share."""
        seconds = time.perf_counter() - self._start
        share = (self._data_wait(trainer) - self._waited) / max(seconds, 1e-9)
        pl_module.log("train/data_wait", share, logger=False)
        for logger in trainer.loggers:
            values = {"train/data_wait": share, "epoch": float(trainer.current_epoch)}
            logger.log_metrics(values, step=trainer.global_step - 1)

    def _data_wait(self, trainer: pl.Trainer) -> float:
        data = getattr(trainer, "datamodule", None)
        return data.data_wait if isinstance(data, RankingDataModule) else 0.0
