"""NDCG as learning-to-rank benchmarks report it: the mean over all queries, by a convention for those without gain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import torch

from distill.errors import ConfigError
from distill.metrics.evaluation import Evaluation
from distill.metrics.functional.ndcg import ndcg_per_request
from distill.metrics.functional.reduce import PerRequest
from distill.metrics.goal import Goal
from distill.metrics.ranking import NDCG, By, are_grades

WithoutRelevant = Literal["zero", "one", "skip"]
_VALUES = {"zero": 0.0, "one": 1.0}


class LetorNDCG(NDCG):
    """`<task>/letor_ndcg_<convention>@<k>`: NDCG with gains 2^y − 1, averaged over all requests with candidates.

    It is the number to set beside published ones. Unlike `NDCG`, requests whose labels are all one positive label
    count with 1, and those without a relevant candidate by the convention. The convention is in the name, since the
    same order has another value by another one. Expected value under random breaking of ties.

    Args:
        without_relevant: What a request without a label above 0 counts: `zero`, as in the evaluation script of
            MSLR-WEB; `one`, as in LightGBM; `skip`: it is left out and counted, as in most libraries of neural rankers.
        ks: Cut-offs.
        by: Whether candidates are ordered by the `logit` of the task or by the ranking `score`.
        tasks: Tasks to measure; None for all whose labels are grades.

    Raises:
        ConfigError: The convention is unknown.

    Reference: Qin and Liu, "Introducing LETOR 4.0 Datasets", 2013, arXiv:1306.2597; see `ndcg_per_request`.
    """

    def __init__(
        self,
        without_relevant: WithoutRelevant,
        ks: Sequence[int] = (10,),
        by: By = "logit",
        tasks: Sequence[str] | None = None,
    ) -> None:
        super().__init__(ks, by, tasks)
        if without_relevant not in ("zero", "one", "skip"):
            raise ConfigError(
                "NDCG has no such convention for requests without a relevant candidate.",
                where="metrics.*.without_relevant",
                expected="zero, one or skip",
                found=str(without_relevant),
            )
        self.without_relevant = without_relevant

    @property
    def goals(self) -> Mapping[str, Goal]:
        """More is better."""
        return self.ranker.goals(f"letor_ndcg_{self.without_relevant}", self.ks)

    def per_request(self, evaluation: Evaluation) -> Mapping[str, PerRequest]:
        """Returns `<task>/letor_ndcg_<convention>@<k>` of each request."""
        values: dict[str, PerRequest] = {}
        for task, column in self.ranker.chosen(evaluation).items():
            labels = evaluation.labels(column)
            if not are_grades(labels):
                continue
            ranks = self.ranker.ranks(evaluation, column)
            for k in self.ks:
                name = self.ranker.name(task, f"letor_ndcg_{self.without_relevant}", k)
                values[name] = self._filled(ndcg_per_request(ranks, labels, k), evaluation)
        return values

    def _filled(self, known: PerRequest, evaluation: Evaluation) -> PerRequest:
        """Gives the requests that have candidates, and none that is relevant, the value of the convention."""
        if self.without_relevant == "skip":
            return known
        empty = evaluation.request_size > 0
        return PerRequest.of(torch.where(known.used, known.values, _VALUES[self.without_relevant]), known.used | empty)
