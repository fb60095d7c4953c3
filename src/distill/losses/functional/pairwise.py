"""Losses of pairs of candidates of the same list: one sum and one amount for each list.

A list is a request, or one task of it. `index [M]` names the list of each row, sorted, and `counts [S]` its rows. A
`plan` says what is known of the lists where the host may not look at them.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from distill.losses.functional.bernoulli_kl import bernoulli_kl
from distill.losses.functional.pair_sums import pair_sums
from distill.ops.pairs import PairBlock, PairPlan, pair_blocks
from distill.ops.segment import segment_max, segment_mean, segment_sum

Importance = Callable[[PairBlock], Tensor]
"""The weights of a block's pairs."""


def logistic(difference: Tensor) -> Tensor:
    """Computes ``-log σ(d)`` of the better's score minus the worse's; its derivative is ``-σ(-d)``.

    Reference:
        Burges et al., "Learning to Rank using Gradient Descent" (RankNet), ICML 2005.
    """
    return F.softplus(-difference)


def ordered_sums(
    student: Tensor,
    target: Tensor,
    index: Tensor,
    counts: Tensor,
    value: Callable[[Tensor], Tensor],
    importance: Importance | None = None,
    min_margin: float = 0.0,
    plan: PairPlan | None = None,
) -> tuple[Tensor, Tensor]:
    """Adds up a function of the score difference ``s_b - s_w`` over the pairs of which b is better by the target.

    Gradient path: to `student` only.

    Args:
        student: Scores `[M]`.
        target: What orders the rows `[M]`.
        index: List of each row `[M]`.
        counts: Rows of each list `[S]`.
        value: The function, such as `logistic`.
        importance: Weights of pairs; 1 if None.
        min_margin: Pairs whose targets differ by at most this are left out.
        plan: See `pair_blocks`.

    Returns:
        Weighted sum over pairs and sum of their weights, `[S]` each.
    """
    target, num_lists = target.detach(), counts.shape[0]
    lowest, highest = -segment_max(-target, index, num_lists), segment_max(target, index, num_lists)

    def formula(difference: Tensor, block: PairBlock) -> tuple[Tensor, Tensor]:
        counted = block.difference(target) > min_margin
        return value(difference), counted if importance is None else importance(block) * counted

    better, worse = target > lowest.index_select(0, index), target < highest.index_select(0, index)
    blocks = pair_blocks(counts, better, worse, plan=plan)
    return pair_sums(student, index, num_lists, blocks, formula)


def pair_kl(
    student: Tensor,
    teacher: Tensor,
    index: Tensor,
    counts: Tensor,
    temperature: float,
    plan: PairPlan | None = None,
) -> tuple[Tensor, Tensor]:
    """Computes the divergence of the student's from the teacher's probability that one row is better than another.

    ``Σ_{i<j} T² KL(σ((t_i - t_j)/T) ‖ σ((s_i - s_j)/T))``. Exactly 0 where all differences agree.
    Gradient path: to `student` only. Temperature scaling: T².

    Returns:
        Sum and number of pairs of each list, `[S]` each.

    Reference:
        RankNet's soft targets (Burges et al. 2005, section 3) with the teacher's differences in place of labels.
    """
    teacher = teacher.detach()

    def formula(difference: Tensor, block: PairBlock) -> tuple[Tensor, None]:
        return bernoulli_kl(difference, block.difference(teacher), temperature), None

    return pair_sums(student, index, counts.shape[0], pair_blocks(counts, each_once=True, plan=plan), formula)


def margin_mse(student: Tensor, teacher: Tensor, index: Tensor, counts: Tensor) -> Tensor:
    """Computes the mean over pairs of ``((s_i - s_j) - (t_i - t_j))²``, without listing them.

    With d = s - t it is twice the sample variance of d in the list, so it costs as much as a mean.
    Gradient path: to `student` only. Exactly 0 where s - t is the same in the whole list.

    Returns:
        `[S]`; 0 for lists with fewer than two rows.

    Reference:
        Hofstätter et al., "Improving Efficient Neural Ranking Models with Cross-Architecture Knowledge Distillation",
        2020, arXiv 2010.02666, eq. 1, over all pairs.
    """
    difference = student - teacher.detach()
    centred = difference - segment_mean(difference, index, counts.shape[0]).index_select(0, index)
    squares = segment_sum(centred.square(), index, counts.shape[0])
    return 2.0 * squares / (counts - 1).clamp(min=1).to(squares.dtype)


def contrastive(
    student: Tensor, target: Tensor, index: Tensor, counts: Tensor, margin: float, plan: PairPlan | None = None
) -> tuple[Tensor, Tensor]:
    """Computes ``½ (y d² + (1 - y) max(0, m - d)²)`` over pairs, where d is the pair's score difference.

    y = 1 for two rows of the same target, which are drawn together: d = s_i - s_j. Of two different ones, d is the
    better's score minus the worse's, so that a wrong order costs more than none.

    Returns:
        Sum and number of pairs of each list, `[S]` each.

    Reference:
        Hadsell et al., "Dimensionality Reduction by Learning an Invariant Mapping", CVPR 2006, eq. 4, with score
        differences in place of distances.
    """

    def formula(difference: Tensor, block: PairBlock) -> tuple[Tensor, None]:
        order = block.difference(target).sign()
        apart = (margin - order * difference).clamp(min=0)
        return 0.5 * torch.where(order == 0, difference, apart).square(), None

    return pair_sums(student, index, counts.shape[0], pair_blocks(counts, each_once=True, plan=plan), formula)


def hinge(difference: Tensor, margin: float) -> Tensor:
    """Computes ``max(0, m - d)`` of the better's score minus the worse's."""
    return (margin - difference).clamp(min=0)
