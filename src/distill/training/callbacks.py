"""Callbacks of every run: stop on a non-finite loss, leave a checkpoint when interrupted, log the wait for data."""

from __future__ import annotations

import logging
import math
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor

from distill.data.datamodule import RankingDataModule
from distill.errors import ConfigError, DataError
from distill.training.launch import any_rank
from distill.training.module import RankingModule

_log = logging.getLogger(__name__)


class StopOnNonFinite(pl.Callback):
    """Stops the run when the loss is not finite, naming the step and the term, and saves the batch.

    Args:
        directory: Where the offending batch is written.
    """

    def __init__(self, directory: str) -> None:
        self.directory = Path(directory)

    def on_before_backward(self, trainer: pl.Trainer, pl_module: pl.LightningModule, loss: Tensor) -> None:
        """Checks the loss before it can reach a weight.

        Raises:
            DataError: The loss is not finite.
        """
        if bool(torch.isfinite(loss)) or not isinstance(pl_module, RankingModule):
            return
        parts = {name: float(value) for name, value in pl_module.last_parts.items()}
        bad = [name for name, value in parts.items() if not math.isfinite(value)]
        self.directory.mkdir(parents=True, exist_ok=True)
        path = self.directory / f"non_finite_step{trainer.global_step}_rank{trainer.global_rank}.pt"
        torch.save(batch_to_plain(pl_module.last_batch), path)
        raise DataError(
            "The loss is not finite.",
            where=f"step {trainer.global_step}, term {', '.join(bad) or 'the weighted sum'}",
            found=", ".join(f"{name}={value}" for name, value in parts.items()),
            remedy=f"The batch is saved in {path}; lower the learning rate or look at its values.",
        )


def batch_to_plain(value: Any) -> Any:
    """Turns a batch into nested dicts of tensors, which load with `weights_only`."""
    if hasattr(value, "__dataclass_fields__"):
        return {name: batch_to_plain(getattr(value, name)) for name in value.__dataclass_fields__}
    if isinstance(value, dict):
        return {name: batch_to_plain(item) for name, item in value.items()}
    return value


class CheckpointOnInterrupt(pl.Callback):
    """Ends a run on Ctrl-C or SIGTERM after the step at hand, leaving `last.ckpt`, and says how to go on.

    With several processes the signal may reach one of them, or each at another moment: they agree at the end of a step.
    A second signal ends the process at once.

    Args:
        directory: Where the checkpoint is written.
        hint: The command that resumes.
    """

    def __init__(self, directory: str, hint: str) -> None:
        self.directory = Path(directory)
        self.hint = hint
        self._asked = False
        self._saved = False
        self._before: dict[signal.Signals, Any] = {}

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Listens to the signals; only a main thread can."""
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._ask) for number in (signal.SIGINT, signal.SIGTERM)}

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Gives the signals back."""
        self._restore()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Saves and stops if any process was asked to.

        Raises:
            KeyboardInterrupt: It was.
        """
        if any_rank(self._asked, pl_module.device):
            self._save(trainer)
            raise KeyboardInterrupt

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Saves when a second signal or another `KeyboardInterrupt` came within a step of a run of one process."""
        if (
            isinstance(exception, KeyboardInterrupt)
            and not self._saved
            and trainer.world_size == 1
            and trainer.training
        ):
            self._save(trainer)

    def _ask(self, number: int, frame: Any) -> None:
        self._asked = True
        self._restore()
        _log.warning("Stopping after this step.")

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def _save(self, trainer: pl.Trainer) -> None:
        self._saved = True
        path = self.directory / "last.ckpt"
        trainer.save_checkpoint(path)
        if trainer.is_global_zero:
            _log.warning("Interrupted at step %d: %s is written. Go on with %s", trainer.global_step, path, self.hint)


class CheckMonitor(pl.Callback):
    """Says which metrics there are when the monitored one is not among them.

    Args:
        monitor: Name of the metric that early stopping and the best checkpoint go by.
    """

    def __init__(self, monitor: str) -> None:
        self.monitor = monitor

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Looks for the metric after a validation.

        Raises:
            ConfigError: It is not there.
        """
        known = sorted(name for name in trainer.callback_metrics if name.startswith("val/"))
        if self.monitor not in known:
            raise ConfigError(
                "The monitored metric is not measured.",
                where="callbacks.monitor",
                expected=", ".join(known),
                found=self.monitor,
            )


class DataWait(pl.Callback):
    """Logs `train/data_wait`, the share of an epoch's wall time that training waited for data."""

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
        pl_module.log("train/data_wait", (self._data_wait(trainer) - self._waited) / max(seconds, 1e-9))

    def _data_wait(self, trainer: pl.Trainer) -> float:
        data = getattr(trainer, "datamodule", None)
        return data.data_wait if isinstance(data, RankingDataModule) else 0.0
