"""Standard errors of numbers that are not means over requests: how much each independent unit moves them.

The infinitesimal jackknife: with ψ_i the empirical influence of row i on a number T, and rows dependent within units
(requests, or users), Var T ≈ U/(U − 1) Σ_u (Σ_{i∈u} ψ_i)². Of two models on the same rows, the variance of the
difference is that of ψ − ψ': it is paired. One pass and no resampling; first-order, so it needs some dozens of units.
Rows are in N, units are numbered in `0..U-1`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from distill.metrics.functional.auc import masses_of_ties
from distill.metrics.functional.checks import require_binary
from distill.metrics.functional.reduce import running_total, sum_by_number, total
from distill.metrics.functional.ties import TieOrder, order_by


@dataclass(frozen=True)
class Influence:
    """A number, and how much each unit moves it.

    Attributes:
        value: Scalar float64.
        parts: `[U]` float64, influence of each unit; they sum to 0.
        used: `[U]` bool, units with a row.

    Reference:
        Efron and Stein, The jackknife estimate of variance, 1981; Jaeckel, The infinitesimal jackknife, 1972.
    """

    value: Tensor
    parts: Tensor
    used: Tensor

    @property
    def num_used(self) -> int:
        """Units with a row."""
        return int(self.used.sum())

    def on_host(self) -> Influence:
        """Returns the same on the CPU."""
        return Influence(self.value.cpu(), self.parts.cpu(), self.used.cpu())

    def standard_error(self) -> Tensor:
        """Standard error of the number: scalar float64, NaN below two units."""
        n = self.num_used
        return (total(self.parts.square()) * (n / (n - 1))).sqrt() if n > 1 else self.value * torch.nan

    def minus(self, other: Influence) -> Influence:
        """Difference of two numbers on the same rows, paired by unit."""
        return Influence(self.value - other.value, self.parts - other.parts, self.used & other.used)


def ratio_influence(numerator: Tensor, denominator: Tensor, unit: Tensor, num_units: int) -> Influence:
    """A ratio of sums, R = Σ_i a_i / Σ_i b_i, with ψ_i = (a_i − R·b_i) / Σ b; a weighted mean has a = w·x, b = w.

    Args:
        numerator: a, `[N]`.
        denominator: b, `[N]`.
        unit: `[N]` int64, in any order.
        num_units: U.

    Returns:
        NaN where Σ b is 0.
    """
    numerator, denominator = numerator.to(torch.float64), denominator.to(torch.float64)
    whole = total(denominator)
    value = total(numerator) / whole
    return _by_unit(value, (numerator - value * denominator) / whole, unit, num_units)


def auc_influence(
    scores: Tensor,
    labels: Tensor,
    unit: Tensor,
    num_units: int,
    weight: Tensor | None = None,
    by_score: TieOrder | None = None,
) -> Influence:
    """The area under the ROC curve, ties ½, with DeLong's components summed by unit.

    ψ_i = w_i (A_i − AUC) / W₊ of a positive, A_i being the weighted share of negatives that it beats, and
    ψ_j = w_j (B_j − AUC) / W₋ of a negative, B_j being the weighted share of positives that beat it.

    Args:
        scores: `[N]`.
        labels: `[N]` in {0, 1}.
        unit: `[N]` int64, in any order.
        num_units: U.
        weight: `[N]` or None.
        by_score: `order_by(scores)`, if it is there already.

    Returns:
        NaN when one class is absent.

    Raises:
        DataError: If a score is NaN or a label is neither 0 nor 1.

    Reference:
        DeLong et al., Comparing the areas under two or more correlated ROC curves, Biometrics 1988; of clustered rows
        Obuchowski, Nonparametric analysis of clustered ROC curve data, Biometrics 1997. Deviations: rows may be
        weighted, and one factor U/(U − 1) takes the place of one for each class.
    """
    require_binary(labels)
    found = order_by(scores) if by_score is None else by_score
    block = torch.empty_like(found.block).scatter_(0, found.order, found.block)
    rows = torch.ones_like(labels, dtype=torch.float64) if weight is None else weight.to(torch.float64)
    positive, negative = rows * labels, rows * (1 - labels)
    positives, negatives = masses_of_ties(labels, weight, found)
    all_positives, all_negatives = total(positives), total(negatives)
    beaten = (running_total(negatives) - 0.5 * negatives) / all_negatives
    beaten_by = (all_positives - running_total(positives) + 0.5 * positives) / all_positives
    value = total(positives * beaten) / all_positives
    parts = positive * (beaten[block] - value) / all_positives + negative * (beaten_by[block] - value) / all_negatives
    return _by_unit(value, parts, unit, num_units)


def _by_unit(value: Tensor, parts: Tensor, unit: Tensor, num_units: int) -> Influence:
    return Influence(value, sum_by_number(parts, unit, num_units), torch.bincount(unit, minlength=num_units) > 0)
