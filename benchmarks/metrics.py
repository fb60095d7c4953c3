"""Speed of evaluation: the metric suite on a large table, as a whole and metric by metric."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from omegaconf import DictConfig

from benchmarks.epochs import has_gpu
from benchmarks.interleave import interleave
from benchmarks.rows import BenchmarkRow
from distill.data.popularity import ItemExposures
from distill.jobs.targets import Part
from distill.metrics import MetricSuite, ScoredRows, give_exposures
from distill.metrics.room import moved

_USERS_SHARE = 0.2
_ITEMS = 50_000


@dataclass(frozen=True)
class MetricsBenchmark(Part):
    """Measures a metric suite on random rows, all of them observed and scored by a teacher.

    Attributes:
        suite: The metrics.
        candidates: Rows of the table.
        requests: Requests that they belong to, of equal size.
        tasks: Binary tasks.
        turns: How often each thing is measured.
    """

    suite: MetricSuite
    candidates: int
    requests: int
    tasks: int
    turns: int

    def run(self, paths: DictConfig) -> list[BenchmarkRow]:
        """Measures the suite, which computes what metrics share once, and each metric alone."""
        rows = random_rows(self.candidates, self.requests, self.tasks)
        tasks = ["click", *(f"task_{k}" for k in range(1, self.tasks))]  # `click` is one that metrics name
        give_exposures(self.suite.metrics, random_exposures())
        suites = {"suite": self.suite}
        suites |= {f"{name} alone": MetricSuite({name: metric}) for name, metric in self.suite.metrics.items()}
        measures = {name: partial(_seconds, partial(suite.compute, rows, tasks)) for name, suite in suites.items()}
        found = interleave(measures, self.turns)
        whole = BenchmarkRow("metrics/suite", found.pop("suite").typical, "s", target="≤ 3")
        alone = [BenchmarkRow(f"metrics/{name}", series.typical, "s") for name, series in found.items()]
        return [whole, *self._on_the_card(rows, tasks), *alone]

    def _on_the_card(self, rows: ScoredRows, tasks: list[str]) -> list[BenchmarkRow]:
        """Measures the suite on rows that lie on a GPU, as those of a validation do; nothing where there is none."""
        there = moved(rows, torch.device("cuda" if has_gpu() else "cpu"), "auto")
        if there is rows:
            return []
        found = interleave({"suite": partial(_seconds, partial(self.suite.compute, there, tasks))}, self.turns + 1)
        return [BenchmarkRow("metrics/suite on the card", min(found["suite"].values), "s", target="≤ 1 for 10M rows")]


def random_rows(candidates: int, requests: int, tasks: int) -> ScoredRows:
    """Makes a canonical table of requests of equal size with correlated student, teacher, labels and `utility`."""
    generator = torch.Generator().manual_seed(0)
    size = candidates // requests
    count = size * requests
    request = torch.arange(requests).repeat_interleave(size)
    users = torch.randint(0, max(int(requests * _USERS_SHARE), 1), (requests,), generator=generator)
    utility = torch.randn(count, generator=generator)
    teacher = utility[:, None] - 2 + 0.5 * torch.randn(count, tasks, generator=generator)
    student = utility[:, None] - 2 + torch.randn(count, tasks, generator=generator)
    return ScoredRows(
        row=torch.arange(count),
        request_id=request,
        user_id=users[request],
        item_id=torch.randint(0, _ITEMS, (count,), generator=generator),
        logits=student,
        score=student.sigmoid().prod(1),
        labels=(torch.rand(count, tasks, generator=generator) < teacher.sigmoid()).float(),
        observed=torch.ones(count, tasks, dtype=torch.bool),
        stage=torch.randint(0, 4, (count,), generator=generator),
        weight=torch.ones(count),
        columns={"utility": utility},
        teacher_logits=teacher,
        teacher_score=teacher.sigmoid().prod(1),
        teacher_valid=torch.ones(count, dtype=torch.bool),
    )


def random_exposures() -> ItemExposures:
    """Makes exposures of most items, few of which have many."""
    count = (1e6 / (1 + torch.arange(_ITEMS * 0.9))).long() + 1
    return ItemExposures(torch.arange(count.numel()), count)


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start
