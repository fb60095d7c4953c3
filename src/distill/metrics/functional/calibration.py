"""Calibration: predicted over observed clicks, and the expected calibration error."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from distill.errors import ConfigError
from distill.metrics.functional.reduce import running_total, sum_of_each, total
from distill.metrics.functional.ties import TieOrder, blocks_of, order_by


def pcoc(probs: Tensor, labels: Tensor, weight: Tensor | None = None) -> Tensor:
    """Predicted clicks over clicks: Σ w·p / Σ w·y.

    Args:
        probs: `[N]`.
        labels: `[N]` in [0, 1].
        weight: `[N]` or None.

    Returns:
        Scalar float64, 1 when calibrated on average; NaN without any positive.

    >>> pcoc(torch.tensor([0.25, 0.5]), torch.tensor([0, 1])).item()
    0.75
    """
    clicks, predicted = (
        total(values if weight is None else values.to(torch.float64) * weight) for values in (labels, probs)
    )
    return torch.where(clicks > 0, predicted / clicks, float("nan"))


def expected_calibration_error(
    probs: Tensor,
    labels: Tensor,
    num_bins: int = 20,
    weight: Tensor | None = None,
    by_score: TieOrder | None = None,
) -> Tensor:
    """Mean distance of prediction and outcome over bins of equal mass.

    ECE = Σ_b W_b/W · |mean_b p − mean_b y|, bins holding W/num_bins of the weight each in order of p. Rows of equal p
    are never separated: they fall into the bin of the middle of their mass, so bins are equal only up to ties, and the
    value does not depend on the order of rows. Empty bins weigh nothing.

    Args:
        probs: `[N]`.
        labels: `[N]` in [0, 1].
        num_bins: Number of bins.
        weight: `[N]` or None.
        by_score: Order of the scores that the probabilities grow with, if it is there already.

    Returns:
        Scalar float64; NaN for no rows.

    Raises:
        ConfigError: If `num_bins` is not positive.
        DataError: If a probability is NaN.

    Reference:
        Nguyen and O'Connor, Posterior calibration and exploratory analysis for natural language processing models,
        2015, arXiv:1508.05154, section 3.2 (equal-mass bins; absolute instead of squared distance here).
    """
    bins = _bins(probs, labels, num_bins, weight, by_score)
    return total(sum_of_each(bins.gap, bins.bin, num_bins).abs()) / total(bins.rows)


def calibration_error_parts(
    probs: Tensor, labels: Tensor, num_bins: int, weight: Tensor | None = None, by_score: TieOrder | None = None
) -> tuple[Tensor, Tensor]:
    """The calibration error as a ratio of sums over rows, bins and the signs of their gaps held as they are.

    Args:
        probs: `[N]`.
        labels: `[N]` in [0, 1].
        num_bins: Number of bins.
        weight: `[N]` or None.
        by_score: Order of the scores that the probabilities grow with, if it is there already.

    Returns:
        Numerators and denominators `[N]` float64, in the order of the rows.
    """
    bins = _bins(probs, labels, num_bins, weight, by_score)
    sign = sum_of_each(bins.gap, bins.bin, num_bins).sign()
    numerator = torch.empty_like(bins.gap).scatter_(0, bins.order, bins.gap * sign[bins.bin])
    return numerator, torch.empty_like(bins.rows).scatter_(0, bins.order, bins.rows)


def calibration_bins(
    probs: Tensor, labels: Tensor, num_bins: int, weight: Tensor | None = None, by_score: TieOrder | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """The bins of the calibration error: what was predicted and observed in each.

    Args:
        probs: `[N]`.
        labels: `[N]` in [0, 1].
        num_bins: Number of bins.
        weight: `[N]` or None.
        by_score: Order of the scores that the probabilities grow with, if it is there already.

    Returns:
        Mean probability, mean label and weight of each bin that is not empty, `[≤ num_bins]` float64.
    """
    bins = _bins(probs, labels, num_bins, weight, by_score)
    mass, predicted, gap = (sum_of_each(part, bins.bin, num_bins) for part in (bins.rows, bins.predicted, bins.gap))
    kept = mass > 0
    return (predicted / mass)[kept], ((predicted - gap) / mass)[kept], mass[kept]


class _Bins(NamedTuple):
    """Rows in order of probability: their order, weights, bins, weighted predictions, and those less the outcomes."""

    order: Tensor
    rows: Tensor
    bin: Tensor
    predicted: Tensor
    gap: Tensor


def _bins(probs: Tensor, labels: Tensor, num_bins: int, weight: Tensor | None, by_score: TieOrder | None) -> _Bins:
    if num_bins < 1:
        raise ConfigError("The calibration error has no bins.", expected="num_bins ≥ 1", found=str(num_bins))
    prob, by_prob = _by_prob(probs.to(torch.float64), by_score)
    gap = prob - labels.index_select(0, by_prob.order)
    if weight is None:
        rows, mass = torch.ones_like(prob), by_prob.block_size.to(torch.float64)
    else:
        rows = weight.index_select(0, by_prob.order).to(torch.float64)
        mass = sum_of_each(rows, by_prob.block, by_prob.num_blocks)
        gap, prob = gap.mul_(rows), prob * rows
    middle = running_total(mass) - 0.5 * mass
    bins = (middle / total(rows) * num_bins).long().clamp(max=num_bins - 1)
    return _Bins(by_prob.order, rows, by_prob.of_sorted(bins), prob, gap)


def _by_prob(probs: Tensor, by_score: TieOrder | None) -> tuple[Tensor, TieOrder]:
    """Sorted probabilities, and the rows in that order; scores that differ may round to one probability."""
    if by_score is not None:
        prob = probs.index_select(0, by_score.order)
        if not bool((prob[1:] < prob[:-1]).any()):
            return prob, TieOrder(by_score.order, blocks_of(prob))
    found = order_by(probs)
    return probs.index_select(0, found.order), found
