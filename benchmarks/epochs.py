"""One epoch of training, by the framework's own trainer and by a bare loop, in candidates per second."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import pytorch_lightning as pl
import torch
from hydra import compose
from omegaconf import DictConfig
from torch import nn
from torch.nn import functional

from benchmarks.conf_folder import WITH_BENCHMARKS
from distill.batch import Batch
from distill.data.datamodule import Loading, RankingDataModule
from distill.data.format import Dataset
from distill.jobs.datasets import open_dataset
from distill.jobs.fit import FitJob
from distill.jobs.fit_plan import FitPlan, Signals
from distill.jobs.monitor_choice import with_monitor
from distill.jobs.node import build, plain
from distill.jobs.parts import build_model
from distill.jobs.sizes import assumed
from distill.training.optim import OptimizerFactory


class EpochClock(pl.Callback):
    """Takes the time from the start of an epoch to the end of its last step: the first wait for data is in it."""

    plain_steps: ClassVar[str] = "called"

    def __init__(self) -> None:
        self.seconds = 0.0
        self.candidates = 0
        self.wait = 0.0
        self.first_step = 0.0
        self._start = 0.0

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Starts the clock."""
        self._start = time.perf_counter()
        self.candidates = 0

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Batch, batch_idx: int
    ) -> None:
        """Notes how far training has come."""
        self.first_step = self.first_step or time.time()
        self.candidates += batch.num_candidates - (batch.padding or 0)
        if trainer.is_last_batch:
            _wait_for(pl_module.device)
        self.seconds = time.perf_counter() - self._start

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Notes the share of time spent waiting for data, which a default callback logs."""
        self.wait = float(trainer.callback_metrics.get("train/data_wait", torch.tensor(0.0)))


class Case:
    """What is trained: overrides of the config of train.py.

    Args:
        overrides: As on the command line.
        paths: Where data and runs go.
        signals: Teacher signals, if the loss wants them.
    """

    def __init__(self, overrides: Sequence[str], paths: DictConfig, signals: Signals | None = None) -> None:
        self.cfg: DictConfig = assumed(compose("config", [WITH_BENCHMARKS, *overrides, "trainer.max_epochs=1"]))
        self.cfg.paths = paths
        self.signals = signals
        self.waits: list[float] = []
        self.first_step = 0.0

    @cached_property
    def dataset(self) -> Dataset:
        """The data, generated and prepared on first use."""
        return open_dataset(self.cfg)

    @property
    def with_metric(self) -> DictConfig:
        """The config with the metric that training goes by."""
        return with_monitor(self.cfg, self.dataset.schema)[0]

    @property
    def plan(self) -> FitPlan:
        """The plan that train.py would make of the config."""
        return FitPlan.of(self.cfg, "student")

    def model(self) -> nn.Module:
        """A new model."""
        torch.manual_seed(0)
        return build_model(self.plan.net, self.dataset.schema.serving_view(), "model.net")

    def batches(self) -> list[Batch]:
        """The shuffled batches of an epoch, in memory."""
        data = RankingDataModule(self.dataset.root, Loading(**plain(self.cfg.data.loader)), view="serving")
        return list(data.loader("train", shuffle=True))

    def framework(self) -> float:
        """Trains an epoch with the trainer, callbacks and loggers of train.py; returns candidates per second."""
        clock = EpochClock()
        with tempfile.TemporaryDirectory() as folder:
            checkpoints = Path(folder) / "checkpoints"
            checkpoints.mkdir()
            data, callbacks = (self.dataset, self.signals), (clock,)
            FitJob(self.with_metric, self.plan, *data, checkpoints, Path(folder), False, callbacks).run()
        self.waits.append(clock.wait)
        self.first_step = clock.first_step
        return clock.candidates / clock.seconds


class BareLoop:
    """The yardstick: the same model and optimiser in a loop over batches in memory, on the GPU if there is one.

    Args:
        case: Whose model, optimiser and data.
    """

    def __init__(self, case: Case) -> None:
        self._device = torch.device("cpu" if case.cfg.trainer.accelerator == "cpu" or not has_gpu() else "cuda")
        self._batches = [batch.to(self._device) for batch in case.batches()]
        self._model = case.model().to(self._device)
        factory: OptimizerFactory = build(case.plan.optimizer, "optimizer")
        self._optimizer = factory.build(self._model)

    def __call__(self) -> float:
        """Trains an epoch on labels; returns candidates per second."""
        start, candidates = time.perf_counter(), 0
        for batch in self._batches:
            loss = functional.binary_cross_entropy_with_logits(self._model(batch).logits, batch.labels)
            self._optimizer.zero_grad()
            torch.autograd.backward(loss)
            self._optimizer.step()
            candidates += batch.num_candidates
        _wait_for(self._device)
        return candidates / (time.perf_counter() - start)


def has_gpu() -> bool:
    """Says whether there is one that torch can use."""
    return torch.cuda.is_available()


def _wait_for(device: torch.device) -> None:
    """Waits until a GPU has done what it was asked for."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


class ForwardOnly:
    """A frozen model over batches in memory.

    Args:
        model: In evaluation mode.
        batches: In memory.
    """

    def __init__(self, model: nn.Module, batches: Sequence[Batch]) -> None:
        self._model = model
        self._batches = batches

    @torch.no_grad()
    def __call__(self) -> float:
        """Scores all batches; returns candidates per second."""
        start = time.perf_counter()
        for batch in self._batches:
            self._model(batch)
        return sum(batch.num_candidates for batch in self._batches) / (time.perf_counter() - start)
