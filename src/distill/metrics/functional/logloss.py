"""Logarithmic loss of binary predictions."""

from __future__ import annotations

import torch
from torch import Tensor

from distill.metrics.functional.checks import require_binary
from distill.metrics.functional.reduce import weighted_mean


def logloss(logits: Tensor, labels: Tensor, weight: Tensor | None = None) -> Tensor:
    """Mean negative log-likelihood of labels under σ(logit), in nats.

    L = mean_i log(1 + exp(−z_i)) with z = logit for label 1 and −logit for label 0; no clipping, so a wrong
    infinite logit gives inf.

    Args:
        logits: `[N]`.
        labels: `[N]` in {0, 1}.
        weight: `[N]` or None; the mean is weighted by it.

    Returns:
        Scalar float64; NaN for no rows.

    Raises:
        DataError: If a label is neither 0 nor 1.

    >>> round(logloss(torch.zeros(2), torch.tensor([0, 1])).item(), 4)
    0.6931
    """
    return weighted_mean(row_losses(logits, labels), weight)


def row_losses(logits: Tensor, labels: Tensor) -> Tensor:
    """The loss of each row `[N]` float64, of which `logloss` is the mean.

    Raises:
        DataError: If a label is neither 0 nor 1.
    """
    require_binary(labels)
    wrong = logits.to(torch.float64) * (1 - 2 * labels.to(torch.float64))
    # not `softplus`: its vector and scalar code differ in the last bit, and threads decide which one a row meets
    return wrong.clamp(min=0) + torch.log1p(torch.exp(-wrong.abs()))
