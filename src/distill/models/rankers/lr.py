"""Logistic regression over all fields of a pair."""

from __future__ import annotations

from distill.batch import Batch, RankerOutput
from distill.models.linear import LinearPart
from distill.models.rankers.base import Ranker
from distill.schema import Schema


class LogisticRegression(Ranker):
    """z_k = Σ_f w_{k,f}[x_f] + b_k: one weight per id and task, and one per number; a sequence counts by its mean.

    Args:
        schema: Prepared schema.

    Reference: McMahan et al., "Ad Click Prediction: a View from the Trenches", 2013, section 2 (the model).
    """

    def __init__(self, schema: Schema) -> None:
        super().__init__()
        self.linear = LinearPart(schema)

    def forward(self, batch: Batch) -> RankerOutput:
        """Returns logits `[N, K]`."""
        return RankerOutput(self.linear(batch), {})
