"""Metrics of the order of all candidates of a request, against the labels of a task."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor

from distill.errors import ConfigError
from distill.metrics.base import RequestMetric, cutoffs
from distill.metrics.evaluation import Evaluation
from distill.metrics.functional.ndcg import MAX_LABEL, ndcg_per_request
from distill.metrics.functional.recall import hit_rate_per_request, recall_per_request
from distill.metrics.functional.reduce import PerRequest
from distill.metrics.functional.ties import TiedRanks
from distill.metrics.rows import ScoredRows

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

    def chosen(self, evaluation: Evaluation) -> dict[str, int]:
        """Returns the chosen tasks with their columns."""
        return evaluation.columns(self.tasks, by_logit=self.by == "logit")

    def ranks(self, evaluation: Evaluation, column: int) -> TiedRanks:
        """Ranks the candidates for the task of `column`."""
        return evaluation.ranks(None if self.by == "score" else column)

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

    def per_request(self, evaluation: Evaluation) -> Mapping[str, PerRequest]:
        """Returns `<task>/recall@<k>` of each request."""
        return _of_relevant("recall", recall_per_request, self.ranker, self.ks, evaluation)


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

    def per_request(self, evaluation: Evaluation) -> Mapping[str, PerRequest]:
        """Returns `<task>/hit_rate@<k>` of each request."""
        return _of_relevant("hit_rate", hit_rate_per_request, self.ranker, self.ks, evaluation)


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

    def per_request(self, evaluation: Evaluation) -> Mapping[str, PerRequest]:
        """Returns `<task>/ndcg@<k>` of each request."""
        values: dict[str, PerRequest] = {}
        for task, column in self.ranker.chosen(evaluation).items():
            labels = _observed_labels(evaluation.rows, column)
            if not _are_grades(labels):
                continue
            ranks = self.ranker.ranks(evaluation, column)
            values |= {self.ranker.name(task, "ndcg", k): ndcg_per_request(ranks, labels, k) for k in self.ks}
        return values

    def missing(self, evaluation: Evaluation) -> str | None:
        """Names the tasks whose labels are no grades."""
        chosen = self.ranker.chosen(evaluation)
        wrong = [task for task, column in chosen.items() if not _are_grades(_observed_labels(evaluation.rows, column))]
        return f"labels outside [0, {MAX_LABEL}]: task {', '.join(wrong)} left out" if wrong else None


def _observed_labels(rows: ScoredRows, column: int) -> Tensor:
    return torch.where(rows.observed[:, column], rows.labels[:, column], 0)


def _are_grades(labels: Tensor) -> bool:
    return bool(((labels >= 0) & (labels <= MAX_LABEL)).all())


def _of_relevant(
    metric: str,
    function: Callable[[TiedRanks, int], PerRequest],
    ranker: TaskRanker,
    ks: Sequence[int],
    evaluation: Evaluation,
) -> dict[str, PerRequest]:
    values: dict[str, PerRequest] = {}
    for task, column in ranker.chosen(evaluation).items():
        (relevant,) = (_observed_labels(evaluation.rows, column) > 0).nonzero(as_tuple=True)
        ranks = ranker.ranks(evaluation, column).select(relevant)
        values |= {ranker.name(task, metric, k): function(ranks, k) for k in ks}
    return values
