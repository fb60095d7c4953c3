"""Losses of pairs of candidates of the same list: one sum and one amount for each list.

A list is a request, or one task of it. `index [M]` names the list of each row, sorted, and `counts [S]` its rows.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from distill.losses.functional.bernoulli_kl import bernoulli_kl
from distill.ops.pairs import segment_pairs
from distill.ops.segment import segment_mean, segment_sum


def ordered_pairs(target: Tensor, counts: Tensor, min_margin: float = 0.0) -> tuple[Tensor, Tensor]:
    """Lists the pairs whose targets differ, the better row first.

    Args:
        target: What orders the rows `[M]`.
        counts: Rows of each list `[S]`.
        min_margin: Pairs with a difference of at most this are left out.

    Returns:
        `better [P]`, `worse [P]` int64.
    """
    first, second = segment_pairs(counts)
    difference = target.index_select(0, first) - target.index_select(0, second)
    kept = (difference.abs() > min_margin).nonzero().flatten()
    first, second, swap = first[kept], second[kept], difference[kept] < 0
    return torch.where(swap, second, first), torch.where(swap, first, second)


def pair_logistic(student: Tensor, better: Tensor, worse: Tensor) -> Tensor:
    """Computes ``-log σ(s_b - s_w)`` of each pair `[P]`; the gradient with respect to s_b is ``-σ(s_w - s_b)``.

    Reference:
        Burges et al., "Learning to Rank using Gradient Descent" (RankNet), ICML 2005.
    """
    return F.softplus(student.index_select(0, worse) - student.index_select(0, better))


def pair_sums(values: Tensor, first: Tensor, index: Tensor, num_lists: int) -> Tensor:
    """Adds what belongs to pairs `[P]` up by the list of their first row `[S]`."""
    return segment_sum(values, index.index_select(0, first), num_lists)


def pair_kl(
    student: Tensor, teacher: Tensor, index: Tensor, counts: Tensor, temperature: float
) -> tuple[Tensor, Tensor]:
    """Computes the divergence of the student's from the teacher's probability that one row is better than another.

    ``Σ_{i<j} T² KL(σ((t_i - t_j)/T) ‖ σ((s_i - s_j)/T))``. Exactly 0 where all differences agree.
    Gradient path: to `student` only. Temperature scaling: T².

    Returns:
        Sum and number of pairs of each list, `[S]` each.

    Reference:
        RankNet's soft targets (Burges et al. 2005, section 3) with the teacher's differences in place of labels.
    """
    first, second = segment_pairs(counts)
    of_student, of_teacher = (x.index_select(0, first) - x.index_select(0, second) for x in (student, teacher))
    values = bernoulli_kl(of_student, of_teacher, temperature)
    return pair_sums(values, first, index, counts.shape[0]), counts * (counts - 1) / 2


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


def contrastive(student: Tensor, target: Tensor, index: Tensor, counts: Tensor, margin: float) -> tuple[Tensor, Tensor]:
    """Computes ``½ (y d² + (1 - y) max(0, m - d)²)`` over pairs, where d is the pair's score difference.

    y = 1 for two rows of the same target, which are drawn together: d = s_i - s_j. Of two different ones, d is the
    better's score minus the worse's, so that a wrong order costs more than none.

    Returns:
        Sum and number of pairs of each list, `[S]` each.

    Reference:
        Hadsell et al., "Dimensionality Reduction by Learning an Invariant Mapping", CVPR 2006, eq. 4, with score
        differences in place of distances.
    """
    first, second = segment_pairs(counts)
    scores = student.index_select(0, first) - student.index_select(0, second)
    order = (target.index_select(0, first) - target.index_select(0, second)).sign()
    values = 0.5 * torch.where(order == 0, scores, (margin - order * scores).clamp(min=0)).square()
    return pair_sums(values, first, index, counts.shape[0]), counts * (counts - 1) / 2


def hinge(student: Tensor, better: Tensor, worse: Tensor, margin: float) -> Tensor:
    """Computes ``max(0, m - (s_b - s_w))`` of each pair `[P]`."""
    difference = student.index_select(0, better) - student.index_select(0, worse)
    return (margin - difference).clamp(min=0)
