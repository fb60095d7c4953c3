"""Precision, recall and F1 at a threshold on the probability."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from distill.metrics.functional.checks import require_binary
from distill.metrics.functional.reduce import total


class ThresholdScores(NamedTuple):
    """Precision, recall and F1, scalars float64."""

    precision: Tensor
    recall: Tensor
    f1: Tensor


def precision_recall_f1(
    probs: Tensor, labels: Tensor, threshold: float = 0.5, weight: Tensor | None = None
) -> ThresholdScores:
    """Precision, recall and F1 of the rule prob ≥ threshold.

    precision = TP / (TP + FP); recall = TP / (TP + FN); F1 = 2·TP / (2·TP + FP + FN), counts being sums of weights.

    Args:
        probs: `[N]`.
        labels: `[N]` in {0, 1}.
        threshold: Probability from which a row is predicted positive; a row at the threshold is.
        weight: `[N]` or None.

    Returns:
        Each is NaN when its denominator is 0: precision when nothing is predicted positive, recall without
        positives, F1 when both hold.

    Raises:
        DataError: If a label is neither 0 nor 1.

    >>> found = precision_recall_f1(torch.tensor([0.9, 0.6, 0.2]), torch.tensor([1, 0, 1]))
    >>> [value.item() for value in found]
    [0.5, 0.5, 0.5]
    """
    require_binary(labels)
    rows = torch.ones_like(probs, dtype=torch.float64) if weight is None else weight.to(torch.float64)
    predicted = rows * (probs >= threshold)
    hits = total(predicted * labels)
    num_predicted = total(predicted)
    num_positive = total(rows * labels)
    return ThresholdScores(hits / num_predicted, hits / num_positive, 2 * hits / (num_predicted + num_positive))
