"""Area under the ROC curve, over all rows or within groups."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from distill.metrics.functional.checks import require_binary
from distill.metrics.functional.numbered import Numbered, numbered
from distill.metrics.functional.reduce import PerRequest, running_total, sum_of_each, weighted_mean
from distill.metrics.functional.ties import TieOrder, order_by
from distill.ops.segment import segment_sum


class GroupedAUC(NamedTuple):
    """AUC averaged over the groups that have both classes.

    Attributes:
        weighted: Mean weighted by the impressions (the sum of row weights) of each group, scalar float64.
        unweighted: Mean over groups, each alike, scalar float64.
        num_groups: Groups with both classes.
        num_skipped: Groups with one class only.
    """

    weighted: Tensor
    unweighted: Tensor
    num_groups: int
    num_skipped: int


class _Pairs(NamedTuple):
    wins: Tensor
    positive: Tensor
    negative: Tensor

    def auc(self) -> Tensor:
        return self.wins / (self.positive * self.negative)


def masses_of_ties(labels: Tensor, weight: Tensor | None, sorted_: TieOrder) -> tuple[Tensor, Tensor]:
    """Sums the weights of the positives and of the negatives of each tie, `[ties]` float64.

    Args:
        labels: `[N]`, in the order of the rows.
        weight: `[N]` or None, in the order of the rows.
        sorted_: The rows by score, perhaps within groups.
    """
    label, block, num_blocks = (
        labels.index_select(0, sorted_.order).to(torch.float64),
        sorted_.block,
        sorted_.num_blocks,
    )
    if weight is None:  # whole numbers have one sum
        positive = label if sorted_.is_strict else segment_sum(label, block, num_blocks)
        return positive, sorted_.block_size - positive
    rows = weight.index_select(0, sorted_.order).to(torch.float64)
    return sum_of_each(label * rows, block, num_blocks), sum_of_each((1 - label) * rows, block, num_blocks)


def _count_pairs(labels: Tensor, num_groups: int, weight: Tensor | None, sorted_: TieOrder) -> _Pairs:
    """Sums per group w_i·w_j over (positive i, negative j) pairs in the right order, ties ½.

    Args:
        labels: `[N]`, in the order of the rows.
        num_groups: G; 1 where the order has no groups.
        weight: `[N]` or None, in the order of the rows.
        sorted_: Rows by group and score.
    """
    positive, negative = masses_of_ties(labels, weight, sorted_)
    below = running_total(negative).sub_(negative)
    if sorted_.group is None:
        wins = positive * below.add_(0.5 * negative)
        return _Pairs(*(_all_of(part, weight).view(1) for part in (wins, positive, negative)))
    group = sorted_.of_blocks(sorted_.group)
    negatives = sum_of_each(negative, group, num_groups)
    below -= (running_total(negatives) - negatives).index_select(0, group)
    wins = positive * below.add_(0.5 * negative)
    return _Pairs(sum_of_each(wins, group, num_groups), sum_of_each(positive, group, num_groups), negatives)


def _all_of(masses: Tensor, weight: Tensor | None) -> Tensor:
    """Sums `[ties]`: without weights, all are multiples of ½ and have one sum."""
    if weight is None:
        return masses.sum()
    return sum_of_each(masses, masses.new_zeros(masses.shape, dtype=torch.int64), 1)[0]


def auc(scores: Tensor, labels: Tensor, weight: Tensor | None = None, by_score: TieOrder | None = None) -> Tensor:
    """Probability that a random positive scores above a random negative.

    AUC = Σ_{i∈P} Σ_{j∈N} w_i·w_j·(1[s_i > s_j] + ½·1[s_i = s_j]) / (Σ_{i∈P} w_i · Σ_{j∈N} w_j)

    Ties count ½. Exact without weights; O(N log N).

    Args:
        scores: `[N]`.
        labels: `[N]` in {0, 1}.
        weight: `[N]` or None.
        by_score: `order_by(scores)`, if it is there already.

    Returns:
        Scalar float64; NaN when one class is absent.

    Raises:
        DataError: If a score is NaN or a label is neither 0 nor 1.

    >>> auc(torch.tensor([0.1, 0.4, 0.35, 0.8]), torch.tensor([0, 0, 1, 1])).item()
    0.75
    """
    require_binary(labels)
    return _count_pairs(labels, 1, weight, order_by(scores) if by_score is None else by_score).auc()[0]


def grouped_auc(
    scores: Tensor, labels: Tensor, group: Tensor, weight: Tensor | None = None, by_score: TieOrder | None = None
) -> GroupedAUC:
    """AUC within each group, averaged over groups (GAUC).

    weighted = Σ_g n_g·AUC_g / Σ_g n_g with n_g the impressions of g; unweighted = mean_g AUC_g. Ties count ½. Groups
    with one class only have no AUC: they are skipped and counted, and their impressions do not enter the weights.

    Args:
        scores: `[N]`.
        labels: `[N]` in {0, 1}.
        group: `[N]` int64, any ids in any order (users or requests).
        weight: `[N]` or None; also makes n_g the sum of weights.
        by_score: `order_by(scores)`, if it is there already.

    Returns:
        Both means (NaN when no group has both classes) and the group counts.

    Raises:
        DataError: If a score is NaN or a label is neither 0 nor 1.

    Reference:
        Zhu et al., Optimized Cost per Click in Taobao Display Advertising, 2017, arXiv:1703.02091, section 5.1.

    >>> users = torch.tensor([7, 7, 8, 8])
    >>> grouped_auc(torch.tensor([0.9, 0.1, 0.3, 0.7]), torch.tensor([1, 0, 1, 0]), users).unweighted.item()
    0.5
    """
    return mean_of_groups(*auc_of_groups(scores, labels, group, weight, by_score))


def mean_of_groups(groups: PerRequest, impressions: Tensor) -> GroupedAUC:
    """Averages what `auc_of_groups` returned."""
    used = groups.used
    values, impressions = groups.values[used], impressions[used]
    num_used = values.numel()
    means = weighted_mean(values, impressions), weighted_mean(values, None)
    return GroupedAUC(*means, num_used, used.numel() - num_used)


def auc_of_groups(
    scores: Tensor,
    labels: Tensor,
    group: Tensor | Numbered,
    weight: Tensor | None = None,
    by_score: TieOrder | None = None,
) -> tuple[PerRequest, Tensor]:
    """AUC of each of the G groups, in the order of their ids.

    Args:
        scores: `[N]`.
        labels: `[N]` in {0, 1}.
        group: `[N]` int64, any ids in any order (users or requests), or what `numbered` made of them.
        weight: `[N]` or None.
        by_score: `order_by(scores)`, if it is there already.

    Returns:
        The AUCs `[G]`, groups with one class only not used, and the impressions (the sum of weights) `[G]` float64.

    Raises:
        DataError: If a score is NaN or a label is neither 0 nor 1.
    """
    require_binary(labels)
    of = numbered(group) if isinstance(group, Tensor) else group
    by_group = (order_by(scores) if by_score is None else by_score).within(of.number)
    pairs = _count_pairs(labels, of.count, weight, by_group)
    used = (pairs.positive > 0) & (pairs.negative > 0)
    return PerRequest.of(pairs.auc(), used), pairs.positive + pairs.negative
