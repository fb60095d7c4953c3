"""Where the positives of a request stand: the first one (MRR), and all of them (MAP)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from distill.metrics.base import RequestMetric, cutoffs
from distill.metrics.evaluation import Evaluation
from distill.metrics.functional.precision import average_precision_per_request, reciprocal_rank_per_request
from distill.metrics.functional.reduce import PerRequest
from distill.metrics.functional.ties import TiedRanks
from distill.metrics.goal import Goal
from distill.metrics.ranking import By, TaskRanker


class _OfPositives(RequestMetric):
    """A number of the ranks that a request's positives have.

    Args:
        ks: Cut-offs.
        by: Whether candidates are ordered by the `logit` of the task or by the ranking `score`.
        tasks: Tasks to measure; None for all.
    """

    def __init__(self, ks: Sequence[int] = (10,), by: By = "logit", tasks: Sequence[str] | None = None) -> None:
        self.ks = cutoffs(ks, "metrics.*.ks")
        self.ranker = TaskRanker(by, tasks)

    def _of(
        self, metric: str, function: Callable[[TiedRanks, int], PerRequest], evaluation: Evaluation
    ) -> dict[str, PerRequest]:
        values: dict[str, PerRequest] = {}
        for task, column in self.ranker.chosen(evaluation).items():
            ranks = self.ranker.ranks(evaluation, column).select(evaluation.positives(column))
            others = ranks.request_size() < evaluation.request_size
            for k in self.ks:
                values[self.ranker.name(task, metric, k)] = function(ranks, k).where(others)
        return values


class MRR(_OfPositives):
    """`<task>/mrr@<k>`: 1 / rank of the first positive, 0 beyond k, the mean over requests with positives and others.

    All candidates of the request are ranked; positives have an observed label above 0. Expected value under random
    breaking of ties. Requests without a positive or of positives only are skipped and counted.

    Args:
        ks: Cut-offs.
        by: Whether candidates are ordered by the `logit` of the task or by the ranking `score`.
        tasks: Tasks to measure; None for all.
    """

    @property
    def goals(self) -> Mapping[str, Goal]:
        """More is better."""
        return self.ranker.goals("mrr", self.ks)

    def per_request(self, evaluation: Evaluation) -> Mapping[str, PerRequest]:
        """Returns `<task>/mrr@<k>` of each request."""
        return self._of("mrr", reciprocal_rank_per_request, evaluation)


class MAP(_OfPositives):
    """`<task>/map@<k>`: Σ precision at the ranks ≤ k of positives / min(positives, k), averaged as `MRR` is.

    Args:
        ks: Cut-offs.
        by: Whether candidates are ordered by the `logit` of the task or by the ranking `score`.
        tasks: Tasks to measure; None for all.
    """

    @property
    def goals(self) -> Mapping[str, Goal]:
        """More is better."""
        return self.ranker.goals("map", self.ks)

    def per_request(self, evaluation: Evaluation) -> Mapping[str, PerRequest]:
        """Returns `<task>/map@<k>` of each request."""
        return self._of("map", average_precision_per_request, evaluation)
