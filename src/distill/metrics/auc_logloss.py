"""One number of order and of probabilities, to choose a checkpoint by."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from distill.metrics import functional
from distill.metrics.base import PointwiseMetric
from distill.metrics.evaluation import TaskRows
from distill.metrics.functional.influence import Influence, auc_influence, ratio_influence
from distill.metrics.functional.logloss import row_losses
from distill.metrics.functional.reduce import weighted_mean
from distill.metrics.goal import UP, Goal


class AUCAndLogLoss(PointwiseMetric):
    """`<task>/auc_logloss`: the mean of the AUC and of 1 - L / H, the share of the labels' entropy that is explained.

    L is the logloss and H the logloss of the share of positives as the probability of every row. A model that knows
    this share alone has 0.25 (AUC ½, and 0), a perfect one 1; one whose order is good and whose probabilities are far
    off loses what its logloss says. NaN where one class is absent.

    Reference: He et al., "Practical Lessons from Predicting Clicks on Ads at Facebook", 2014, section 3 (L / H is its
    normalised entropy).
    """

    of_probabilities = True

    @property
    def goals(self) -> Mapping[str, Goal]:
        """More is better."""
        return {"auc_logloss": UP}

    def measure(self, rows: TaskRows) -> dict[str, float]:
        """Returns `auc_logloss`."""
        weight = self.weight(rows)
        auc = functional.auc(rows.logits, rows.labels, weight, rows.by_logit)
        loss = functional.logloss(rows.logits, rows.labels, weight)
        entropy = _entropy(weighted_mean(rows.labels.to(torch.float64), weight))
        return {"auc_logloss": float((auc + 1 - loss / entropy) / 2)}

    def influences(self, rows: TaskRows, unit: Tensor, num_units: int) -> Mapping[str, Influence]:
        """Returns `auc_logloss`, by the influences of its parts: ∂H/∂p = log((1 - p) / p) of the share p."""
        weight = self.weight(rows)
        counts = torch.ones_like(rows.labels, dtype=torch.float64) if weight is None else weight.to(torch.float64)
        auc = auc_influence(rows.logits, rows.labels, unit, num_units, weight, rows.by_logit)
        loss = ratio_influence(counts * row_losses(rows.logits, rows.labels), counts, unit, num_units)
        share = ratio_influence(counts * rows.labels, counts, unit, num_units)
        entropy = _entropy(share.value)
        slope = loss.value / entropy.square() * ((1 - share.value) / share.value).log()
        parts = auc.parts - loss.parts / entropy + slope * share.parts
        return {"auc_logloss": Influence((auc.value + 1 - loss.value / entropy) / 2, parts / 2, auc.used)}


def _entropy(share: Tensor) -> Tensor:
    """Returns the entropy of a label in nats; NaN where it is always the same."""
    return -(share * share.log() + (1 - share) * (1 - share).log())
