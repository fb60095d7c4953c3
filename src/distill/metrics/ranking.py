"""Metrics of the order of all candidates of a request, against the labels of a task."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor

from distill.errors import ConfigError
from distill.metrics.base import RequestMetric, cutoffs, positions
from distill.metrics.functional.ndcg import MAX_LABEL, ndcg_per_request
from distill.metrics.functional.recall import hit_rate_per_request, recall_per_request
from distill.metrics.functional.reduce import PerRequest
from distill.metrics.functional.ties import TiedRanks, tied_ranks
from distill.metrics.rows import ScoredRows, request_index

By = Literal["logit", "score"]


class TaskRanker:
    """Ranks all candidates of each request, observed or not, for every chosen task.

    Args:
        by: `logit`, the logit of the task itself, or `score`, the ranking score.
        tasks: Tasks to measure; None for all.
    """

    def __init__(self, by: By, tasks: Sequence[str] | None) -> None:
        if by not in ("logit", "score"):
            raise ConfigError("Candidates are to be ordered by an unknown number", expected="logit or score", found=by)
        self.by = by
        self.tasks = None if tasks is None else tuple(tasks)

    def chosen(self, rows: ScoredRows, tasks: Sequence[str]) -> dict[str, int]:
        """Returns the chosen tasks with their columns."""
        return positions(tasks, self.tasks, rows)

    def ranks(self, rows: ScoredRows, column: int) -> TiedRanks:
        """Ranks the candidates for the task of `column`."""
        index, num_requests = request_index(rows)
        return tied_ranks(rows.score if self.by == "score" else rows.logits[:, column], index, num_requests)

    def name(self, task: str, metric: str, k: int) -> str:
        """Names a result: `click/recall@10`, or `click/recall_by_score@10`."""
        return f"{task}/{metric}@{k}" if self.by == "logit" else f"{task}/{metric}_by_score@{k}"


class Recall(RequestMetric):
    """`<task>/recall@<k>`: TP / min(TP + FN, k), averaged over the requests with a positive.

    All candidates of the request are ranked; relevant are those with an observed label above 0. Expected value under
    random breaking of ties. Requests without a positive are skipped and counted; requests of at most k candidates have
    recall 1.

    Args:
        ks: Cut-offs.
        by: Whether candidates are ordered by the `logit` of the task or by the ranking `score`.
        tasks: Tasks to measure; None for all.
    """

    def __init__(self, ks: Sequence[int] = (10,), by: By = "logit", tasks: Sequence[str] | None = None) -> None:
        self.ks = cutoffs(ks, "metrics.*.ks")
        self.ranker = TaskRanker(by, tasks)

    def per_request(self, rows: ScoredRows, tasks: Sequence[str]) -> Mapping[str, PerRequest]:
        """Returns `<task>/recall@<k>` of each request."""
        return _of_relevant("recall", recall_per_request, self.ranker, self.ks, rows, tasks)


class HitRate(RequestMetric):
    """`<task>/hit_rate@<k>`: share of the relevant candidates in the top-k, averaged over the requests with any.

    As `Recall`, but divided by all relevant candidates, even beyond k.

    Args:
        ks: Cut-offs.
        by: Whether candidates are ordered by the `logit` of the task or by the ranking `score`.
        tasks: Tasks to measure; None for all.
    """

    def __init__(self, ks: Sequence[int] = (10,), by: By = "score", tasks: Sequence[str] | None = None) -> None:
        self.ks = cutoffs(ks, "metrics.*.ks")
        self.ranker = TaskRanker(by, tasks)

    def per_request(self, rows: ScoredRows, tasks: Sequence[str]) -> Mapping[str, PerRequest]:
        """Returns `<task>/hit_rate@<k>` of each request."""
        return _of_relevant("hit_rate", hit_rate_per_request, self.ranker, self.ks, rows, tasks)


class NDCG(RequestMetric):
    """`<task>/ndcg@<k>`: NDCG with gains 2^y − 1, averaged over the requests with a positive label.

    All candidates of the request are ranked; an unobserved label counts as 0. Expected value under random breaking of
    ties. Requests with IDCG 0 are skipped and counted.

    Args:
        ks: Cut-offs.
        by: Whether candidates are ordered by the `logit` of the task or by the ranking `score`.
        tasks: Tasks to measure; None for all whose labels are grades.
    """

    def __init__(self, ks: Sequence[int] = (10,), by: By = "logit", tasks: Sequence[str] | None = None) -> None:
        self.ks = cutoffs(ks, "metrics.*.ks")
        self.ranker = TaskRanker(by, tasks)

    def per_request(self, rows: ScoredRows, tasks: Sequence[str]) -> Mapping[str, PerRequest]:
        """Returns `<task>/ndcg@<k>` of each request."""
        values: dict[str, PerRequest] = {}
        for task, column in self.ranker.chosen(rows, tasks).items():
            labels = _observed_labels(rows, column)
            if not _are_grades(labels):
                continue
            ranks = self.ranker.ranks(rows, column)
            values |= {self.ranker.name(task, "ndcg", k): ndcg_per_request(ranks, labels, k) for k in self.ks}
        return values

    def missing(self, rows: ScoredRows, tasks: Sequence[str]) -> str | None:
        """Names the tasks whose labels are no grades."""
        chosen = self.ranker.chosen(rows, tasks)
        wrong = [task for task, column in chosen.items() if not _are_grades(_observed_labels(rows, column))]
        return f"labels outside [0, {MAX_LABEL}]: task {', '.join(wrong)} left out" if wrong else None


def _observed_labels(rows: ScoredRows, column: int) -> Tensor:
    return torch.where(rows.observed[:, column], rows.labels[:, column], 0)


def _are_grades(labels: Tensor) -> bool:
    return bool(((labels >= 0) & (labels <= MAX_LABEL)).all())


def _of_relevant(
    metric: str,
    function: Callable[[TiedRanks, Tensor, int], PerRequest],
    ranker: TaskRanker,
    ks: Sequence[int],
    rows: ScoredRows,
    tasks: Sequence[str],
) -> dict[str, PerRequest]:
    values: dict[str, PerRequest] = {}
    for task, column in ranker.chosen(rows, tasks).items():
        relevant = _observed_labels(rows, column) > 0
        ranks = ranker.ranks(rows, column)
        values |= {ranker.name(task, metric, k): function(ranks, relevant, k) for k in ks}
    return values
