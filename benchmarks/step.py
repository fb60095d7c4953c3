"""What a training step costs the host beside the model: the trainer, its callbacks and loggers, and what becomes of a
batch before the model sees it."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import MethodType
from typing import Any, ClassVar, TypeVar
from unittest.mock import patch

import pytorch_lightning as pl
import torch
from omegaconf import DictConfig

from benchmarks.epochs import Case
from benchmarks.interleave import interleave
from benchmarks.rows import BenchmarkRow
from distill.batch import Batch, LossReport
from distill.data.datamodule import RankingDataModule
from distill.jobs.fit import FitJob
from distill.jobs.targets import Part
from distill.training.capture import module as captured
from distill.training.capture.recorder import Recorder, Recording
from distill.training.module import RankingModule

_AFTER = 20  # steps that allocate and record
T = TypeVar("T")


@dataclass(frozen=True)
class StepBenchmark(Part):
    """Measures the main thread's own time in steps whose model does nothing.

    An eager step's loss is a parameter times 0. A captured step is replayed by doing nothing: what is left is what the
    host does for one on a GPU, but for the request to replay it and the copies of a batch, which the CPU makes here.

    Attributes:
        rows: Rows of the flat data.
        batch: Candidates of a batch.
        turns: How often each thing is measured.
    """

    rows: int
    batch: int
    turns: int

    def run(self, paths: DictConfig) -> list[BenchmarkRow]:
        """Measures eager and captured steps, with and without the callbacks and loggers of a run."""
        size = [f"data.loader.{name}={self.batch}" for name in ("batch_candidates", "eval_batch_candidates")]
        flat = ["data=benchmark_flat", f"data.adapter.rows={self.rows}", *size, "data.loader.resident=host"]
        cases = {
            "eager": Case(flat, paths),
            "captured": Case([*flat, "trainer.capture=auto"], paths),
        }
        found = interleave({name: _Host(case) for name, case in cases.items()}, self.turns)
        return [BenchmarkRow(f"step/{name}/host", min(series.values), "µs") for name, series in found.items()]


@dataclass
class _Host:
    """Trains an epoch; returns the microseconds of the main thread in a step."""

    case: Case

    def __call__(self) -> float:
        clock = _ThreadClock()
        with tempfile.TemporaryDirectory() as folder, patch.object(captured, "recorder_of", _idle):
            checkpoints = Path(folder) / "checkpoints"
            checkpoints.mkdir()
            case = self.case
            _HostJob(case.with_metric, case.plan, case.dataset, None, checkpoints, Path(folder), False, (clock,)).run()
        return clock.seconds / clock.steps * 1e6


class _HostJob(FitJob):
    """A fit whose model does nothing."""

    def module(self, data: RankingDataModule) -> RankingModule:
        """Puts it together."""
        made = super().module(data)
        made.report_of = MethodType(_nothing, made)  # type: ignore[method-assign]
        return made


def _nothing(module: RankingModule, batch: Batch, step: int) -> LossReport:
    parameter = next(p for p in module.parameters() if p.requires_grad and p.dim() == 1)
    total = (parameter * 0).sum()
    return LossReport(total, {"hard": total.detach()}, {"hard": 1.0})


class _Idle:
    """Records functions, and does nothing to replay them."""

    refuses: str | None = None

    def run(self, function: Callable[[], T], watched: bool = True) -> T:
        """See `Recorder.run`."""
        return function()

    def record(self, function: Callable[[], T]) -> Recording[T]:
        """See `Recorder.record`."""
        return Recording(lambda: None, function())


def _idle(device: torch.device) -> Recorder:
    return _Idle()


@dataclass
class _ThreadClock(pl.Callback):
    """Takes the processor time of the main thread from one step's end to the last one's."""

    plain_steps: ClassVar[str] = "called"

    steps: int = 0
    seconds: float = 0.0
    _start: float = field(default=0.0, repr=False)

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        """Notes the time."""
        if trainer.global_step == _AFTER:
            self._start = time.thread_time()
        elif trainer.global_step > _AFTER:
            self.steps, self.seconds = trainer.global_step - _AFTER, time.thread_time() - self._start
