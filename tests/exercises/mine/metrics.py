"""A metric: what share of the requests has its first place right."""

from __future__ import annotations

from collections.abc import Mapping

from distill.metrics.base import RequestMetric
from distill.metrics.evaluation import Evaluation
from distill.metrics.functional.reduce import PerRequest
from distill.metrics.goal import Goal
from distill.ops.segment import segment_sum


class FirstIsPositive(RequestMetric):
    """`<task>/first_is_positive`: whether a request's best candidate has a positive label; ties count by share."""

    @property
    def goals(self) -> Mapping[str, Goal]:
        """More is better."""
        return {"first_is_positive": Goal("up")}

    def per_request(self, evaluation: Evaluation) -> Mapping[str, PerRequest]:
        """Returns the values of the requests that have a positive and another candidate."""
        found = {}
        for task, column in evaluation.columns(None).items():
            ranks, rows = evaluation.ranks(column), evaluation.rows
            positive = ((rows.labels[:, column] > 0) & rows.observed[:, column]).double()
            first = (ranks.better == 0).double() / ranks.tied
            right, positives = (segment_sum(v, ranks.index, ranks.num_requests) for v in (first * positive, positive))
            differ = (positives > 0) & (positives < ranks.request_size())
            found[f"{task}/first_is_positive"] = PerRequest.of(right, differ)
        return found
