"""Area under the ROC curve, over all rows or within groups."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from distill.metrics.functional.checks import require_binary
from distill.metrics.functional.reduce import PerRequest, weighted_mean
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


def _count_pairs(labels: Tensor, group: Tensor, num_groups: int, weight: Tensor | None, sorted_: TieOrder) -> _Pairs:
    """Sums per group w_i·w_j over (positive i, negative j) pairs in the right order, ties ½.

    Args:
        labels: `[N]`, in the order of the rows.
        group: `[N]` int64 in `0..G-1`, ascending in the sorted order, which it follows.
        num_groups: G.
        weight: `[N]` or None, in the order of the rows.
        sorted_: Rows by group and score.
    """
    label = labels.index_select(0, sorted_.order).to(torch.float64)
    block, num_blocks = sorted_.block, sorted_.num_blocks
    rows = None if weight is None else weight.index_select(0, sorted_.order).to(torch.float64)
    positive = segment_sum(label if rows is None else label * rows, block, num_blocks)
    negative = segment_sum(1 - label if rows is None else (1 - label) * rows, block, num_blocks)
    block_group = torch.empty(num_blocks, dtype=torch.int64, device=block.device).scatter_(0, block, group)
    negative_of_group = segment_sum(negative, block_group, num_groups)
    before_group = negative_of_group.cumsum(0) - negative_of_group
    below = negative.cumsum(0) - negative - before_group.index_select(0, block_group)
    wins = segment_sum(positive * (below + 0.5 * negative), block_group, num_groups)
    return _Pairs(wins, segment_sum(positive, block_group, num_groups), negative_of_group)


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
    """
    require_binary(labels)
    group = torch.zeros(scores.shape, dtype=torch.int64, device=scores.device)
    return _count_pairs(labels, group, 1, weight, order_by(scores) if by_score is None else by_score).auc()[0]


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
    """
    groups, impressions = auc_of_groups(scores, labels, group, weight, by_score)
    used = groups.used
    values, impressions = groups.values[used], impressions[used]
    num_used = values.numel()
    means = weighted_mean(values, impressions), weighted_mean(values, None)
    return GroupedAUC(*means, num_used, used.numel() - num_used)


def auc_of_groups(
    scores: Tensor, labels: Tensor, group: Tensor, weight: Tensor | None = None, by_score: TieOrder | None = None
) -> tuple[PerRequest, Tensor]:
    """AUC of each of the G groups, in the order of their ids.

    Args:
        scores: `[N]`.
        labels: `[N]` in {0, 1}.
        group: `[N]` int64, any ids in any order (users or requests).
        weight: `[N]` or None.
        by_score: `order_by(scores)`, if it is there already.

    Returns:
        The AUCs `[G]`, groups with one class only not used, and the impressions (the sum of weights) `[G]` float64.

    Raises:
        DataError: If a score is NaN or a label is neither 0 nor 1.
    """
    require_binary(labels)
    dense, num_groups = dense_ids(group)
    by_group = (order_by(scores) if by_score is None else by_score).within(dense)
    pairs = _count_pairs(labels, dense.index_select(0, by_group.order), num_groups, weight, by_group)
    used = (pairs.positive > 0) & (pairs.negative > 0)
    return PerRequest.of(pairs.auc(), used), pairs.positive + pairs.negative


def dense_ids(ids: Tensor) -> tuple[Tensor, int]:
    """Numbers the G distinct ids: `[N]` int64 in `0..G-1`, in the order of the ids, and G."""
    runs, run = torch.unique_consecutive(ids, return_inverse=True)  # rows of a user often come together
    distinct, number = torch.unique(runs, return_inverse=True)
    return number.index_select(0, run), distinct.numel()
