"""Cost of loss terms: against a whole training step of a two-tower, and on requests of thousands of candidates."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from omegaconf import DictConfig
from torch import nn

from benchmarks.epochs import Case
from benchmarks.interleave import interleave
from benchmarks.long_lists import measure_long_lists
from benchmarks.rows import BenchmarkRow
from distill.batch import Batch, RankerOutput, TeacherSignals
from distill.jobs.node import build
from distill.jobs.targets import Part
from distill.losses import CompositeLoss, LossInputs, LossSetting, TaskInfo
from distill.losses.terms import LossTerm
from distill.training.optim import OptimizerFactory


@dataclass(frozen=True)
class LossesBenchmark(Part):
    """Measures loss terms on batches of requests, with random teacher logits for every candidate.

    Attributes:
        terms: Name to term; each is measured alone.
        requests: Requests of the data.
        turns: How often each thing is measured.
        long: Name to term that compares all candidates of a request with each other.
        candidates: Candidates of a request that these are measured on.
    """

    terms: Mapping[str, LossTerm]
    requests: int
    turns: int
    long: Mapping[str, LossTerm]
    candidates: Sequence[int]

    def run(self, paths: DictConfig) -> list[BenchmarkRow]:
        """Measures every term against the step on labels alone, and those on long requests by themselves."""
        adapter = {"requests": self.requests, "sequence_length": 0}
        overrides = ["data=benchmark_requests", "model=two_tower"]
        case = Case([*overrides, *(f"data.adapter.{name}={value}" for name, value in adapter.items())], paths)
        tasks = [TaskInfo(task.name, task.weight, task.kind) for task in case.dataset.schema.tasks]
        batches = case.batches()
        losses = {name: _composite(term, tasks) for name, term in self.terms.items()}
        measures = {name: partial(_pass, loss, batches, len(tasks)) for name, loss in losses.items()}
        found = interleave({"step": _Step(case, batches), **measures}, self.turns)
        step = found.pop("step")
        rows = [BenchmarkRow("losses/two-tower step", step.typical, "s/batch")]
        for name, series in found.items():
            ratio, target = series.over(step), "≤ 0.1"
            rows.append(BenchmarkRow(f"losses/{name}", series.typical, "s/batch", ratio, "two-tower step", target))
        return [*rows, *measure_long_lists(self.long, self.candidates)]


class _Step:
    """Trains on labels with batches in memory; gives seconds per batch."""

    def __init__(self, case: Case, batches: Sequence[Batch]) -> None:
        self._batches = batches
        self._model = case.model()
        factory: OptimizerFactory = build(case.plan.optimizer, "optimizer")
        self._optimizer = factory.build(self._model)

    def __call__(self) -> float:
        start = time.perf_counter()
        for batch in self._batches:
            loss = nn.functional.binary_cross_entropy_with_logits(self._model(batch).logits, batch.labels)
            self._optimizer.zero_grad()
            torch.autograd.backward(loss)
            self._optimizer.step()
        return (time.perf_counter() - start) / len(self._batches)


def _composite(term: LossTerm, tasks: Sequence[TaskInfo]) -> CompositeLoss:
    loss = CompositeLoss({"only": term})
    loss.setup(LossSetting(tasks, has_signals=True))
    return loss


def _pass(loss: CompositeLoss, batches: Sequence[Batch], num_tasks: int) -> float:
    """Runs a loss forward and backward to random logits; gives seconds per batch."""
    generator = torch.Generator().manual_seed(0)
    seconds = 0.0
    for batch in batches:
        student, teacher = torch.randn(2, batch.num_candidates, num_tasks, generator=generator)
        signals = TeacherSignals(teacher, torch.ones(batch.num_candidates, dtype=torch.bool), {})
        output = RankerOutput(student.requires_grad_(), {})
        start = time.perf_counter()
        torch.autograd.backward(loss(LossInputs(batch, output, signals, 0)).total)
        seconds += time.perf_counter() - start
    return seconds / len(batches)
