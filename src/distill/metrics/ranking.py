"""Metrics of the order of all candidates of a request, against the labels of a task."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor

from distill.errors import ConfigError
from distill.metrics.base import CutoffMetric, RequestMetric, cutoffs
from distill.metrics.evaluation import Evaluation
from distill.metrics.functional.ndcg import MAX_LABEL, ndcg_per_request
from distill.metrics.functional.recall import hit_rate_per_request, recall_per_request
from distill.metrics.functional.reduce import PerRequest
from distill.metrics.functional.ties import TiedRanks
from distill.metrics.goal import UP, Goal

By = Literal["logit", "score"]


class TaskRanker:
    """Ranks all candidates of each request, observed or not, for every chosen task.

    Args:
        by: `logit`, the logit of the task itself, or `score`, the ranking score.
        tasks: Tasks to measure; None for all.
    """

    def __init__(self, by: By, tasks: Sequence[str] | None) -> None:
        if by not in ("logit", "score"):
            raise ConfigError("Candidates cannot be ordered by this.", expected="logit or score", found=by)
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
        return f"{task}/{self.stem(metric, k)}"

    def stem(self, metric: str, k: int) -> str:
        """Names a result without its task."""
        return f"{metric}@{k}" if self.by == "logit" else f"{metric}_by_score@{k}"

    def goals(self, metric: str, ks: Sequence[int]) -> dict[str, Goal]:
        """More is better, of every k."""
        return {self.stem(metric, k): UP for k in ks}


class Recall(CutoffMetric):
    """`<task>/recall@<k>`: TP / min(TP + FN, k), averaged over the requests that have both positives and others.

    All candidates of the request are ranked; relevant are those with an observed label above 0. Expected value under
    random breaking of ties. Requests of no more than k candidates, without a positive or of positives only have the
    same recall in any order: they are skipped and counted.

    Args:
        ks: Cut-offs.
        by: Whether candidates are ordered by the `logit` of the task or by the ranking `score`.
        tasks: Tasks to measure; None for all.
    """

    def __init__(self, ks: Sequence[int] = (10,), by: By = "logit", tasks: Sequence[str] | None = None) -> None:
        self.ks = cutoffs(ks, "metrics.*.ks")
        self.ranker = TaskRanker(by, tasks)

    @property
    def goals(self) -> Mapping[str, Goal]:
        """More is better."""
        return self.ranker.goals("recall", self.ks)

    def per_request(self, evaluation: Evaluation) -> Mapping[str, PerRequest]:
        """Returns `<task>/recall@<k>` of each request."""
        return _of_relevant("recall", recall_per_request, self.ranker, self.ks, evaluation)


class HitRate(RequestMetric):
    """`<task>/hit_rate@<k>`: share of the relevant candidates in the top-k, averaged over the requests as `Recall` is.

    As `Recall`, but divided by all relevant candidates, even beyond k.

    Args:
        ks: Cut-offs.
        by: Whether candidates are ordered by the `logit` of the task or by the ranking `score`.
        tasks: Tasks to measure; None for all.
    """

    def __init__(self, ks: Sequence[int] = (10,), by: By = "score", tasks: Sequence[str] | None = None) -> None:
        self.ks = cutoffs(ks, "metrics.*.ks")
        self.ranker = TaskRanker(by, tasks)

    @property
    def goals(self) -> Mapping[str, Goal]:
        """More is better."""
        return self.ranker.goals("hit_rate", self.ks)

    def per_request(self, evaluation: Evaluation) -> Mapping[str, PerRequest]:
        """Returns `<task>/hit_rate@<k>` of each request."""
        return _of_relevant("hit_rate", hit_rate_per_request, self.ranker, self.ks, evaluation)


class NDCG(RequestMetric):
    """`<task>/ndcg@<k>`: NDCG with gains 2^y − 1, averaged over the requests whose labels differ.

    All candidates of the request are ranked; an unobserved label counts as 0. Expected value under random breaking of
    ties. Requests with IDCG 0, and those whose candidates all have one label (a single candidate too), which have NDCG
    1 in any order, are skipped and counted.

    Args:
        ks: Cut-offs.
        by: Whether candidates are ordered by the `logit` of the task or by the ranking `score`.
        tasks: Tasks to measure; None for all whose labels are grades.
    """

    def __init__(self, ks: Sequence[int] = (10,), by: By = "logit", tasks: Sequence[str] | None = None) -> None:
        self.ks = cutoffs(ks, "metrics.*.ks")
        self.ranker = TaskRanker(by, tasks)

    @property
    def goals(self) -> Mapping[str, Goal]:
        """More is better."""
        return self.ranker.goals("ndcg", self.ks)

    def per_request(self, evaluation: Evaluation) -> Mapping[str, PerRequest]:
        """Returns `<task>/ndcg@<k>` of each request."""
        values: dict[str, PerRequest] = {}
        for task, column in self.ranker.chosen(evaluation).items():
            labels = evaluation.labels(column)
            if not are_grades(labels):
                continue
            ranks = self.ranker.ranks(evaluation, column)
            differ = _labels_differ(labels, *evaluation.requests)
            for k in self.ks:
                values[self.ranker.name(task, "ndcg", k)] = ndcg_per_request(ranks, labels, k).where(differ)
        return values

    def missing(self, evaluation: Evaluation) -> str | None:
        """Names the tasks whose labels are not grades."""
        chosen = self.ranker.chosen(evaluation)
        wrong = [task for task, column in chosen.items() if not are_grades(evaluation.labels(column))]
        return f"labels outside [0, {MAX_LABEL}]: task {', '.join(wrong)} left out" if wrong else None


def are_grades(labels: Tensor) -> bool:
    """Whether all labels are ones that NDCG has gains of."""
    return bool(((labels >= 0) & (labels <= MAX_LABEL)).all())


def _labels_differ(labels: Tensor, index: Tensor, num_requests: int) -> Tensor:
    """Whether the candidates of a request do not all have one label `[R]` bool."""
    change = (labels[1:] != labels[:-1]) & (index[1:] == index[:-1])
    return torch.bincount(index[1:][change], minlength=num_requests) > 0


def order_matters(relevant: TiedRanks, size: Tensor, k: int) -> Tensor:
    """Whether which k of a request's candidates are first decides how many relevant ones are `[R]` bool.

    Args:
        relevant: Ranks of the relevant candidates among all.
        size: Candidates of each request, `[R]`.
        k: Cut-off.
    """
    return (size > k) & (relevant.request_size() < size)


def _of_relevant(
    metric: str,
    function: Callable[[TiedRanks, int], PerRequest],
    ranker: TaskRanker,
    ks: Sequence[int],
    evaluation: Evaluation,
) -> dict[str, PerRequest]:
    values: dict[str, PerRequest] = {}
    for task, column in ranker.chosen(evaluation).items():
        ranks = ranker.ranks(evaluation, column).select(evaluation.positives(column))
        for k in ks:
            matters = order_matters(ranks, evaluation.request_size, k)
            values[ranker.name(task, metric, k)] = function(ranks, k).where(matters)
    return values
