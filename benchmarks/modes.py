"""What torch.compile and bfloat16 autocast make of a training step, against the same step without them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from omegaconf import DictConfig
from torch.nn import functional

from benchmarks.epochs import Case
from benchmarks.interleave import interleave
from benchmarks.rows import BenchmarkRow
from distill.batch import Batch
from distill.jobs.node import build
from distill.jobs.targets import Part
from distill.training.compiled import compile_dense
from distill.training.optim import OptimizerFactory


@dataclass(frozen=True)
class ModesBenchmark(Part):
    """Measures DCN v2 on flat data in memory, eager, compiled and under bfloat16 autocast, on the CPU.

    Attributes:
        rows: Rows of the data.
        turns: How often each is measured.
    """

    rows: int
    turns: int

    def run(self, paths: DictConfig) -> list[BenchmarkRow]:
        """Measures the three in turns, after a step of each that is not counted: the compiler runs in it."""
        case = Case(["data=benchmark_flat", "model=dcn_v2", f"data.adapter.rows={self.rows}"], paths)
        batches = case.batches()
        steps = {name: _Steps(case, batches, name) for name in ("eager", "compiled", "bf16")}
        seconds = {name: step.first() for name, step in steps.items()}
        found = interleave(steps, self.turns)
        eager = found["eager"]
        rows = [BenchmarkRow("modes/eager", eager.typical, "candidates/s")]
        rows += [
            BenchmarkRow(f"modes/{name}", found[name].typical, "candidates/s", found[name].over(eager), "eager")
            for name in ("compiled", "bf16")
        ]
        rows.append(BenchmarkRow("modes/compiled, first step", seconds["compiled"], "s"))
        return rows


class _Steps:
    """Trains on batches in memory; gives candidates per second."""

    def __init__(self, case: Case, batches: Sequence[Batch], mode: str) -> None:
        self._batches = batches
        self._model = case.model()
        self._bf16 = mode == "bf16"
        if mode == "compiled":
            compile_dense(self._model, "default", dynamic=True)
        factory: OptimizerFactory = build(case.plan.optimizer, "optimizer")
        self._optimizer = factory.build(self._model)

    def first(self) -> float:
        """Trains on one batch; returns the seconds."""
        start = time.perf_counter()
        self._step(self._batches[0])
        return time.perf_counter() - start

    def __call__(self) -> float:
        start = time.perf_counter()
        for batch in self._batches:
            self._step(batch)
        return sum(batch.num_candidates for batch in self._batches) / (time.perf_counter() - start)

    def _step(self, batch: Batch) -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=self._bf16):
            logits = self._model(batch).logits
        loss = functional.binary_cross_entropy_with_logits(logits.float(), batch.labels)
        self._optimizer.zero_grad()
        torch.autograd.backward(loss)
        self._optimizer.step()
