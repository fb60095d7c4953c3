"""Losses of whole lists of candidates: one value for each list.

A list is a request, or one task of it. `index [M]` names the list of each row, sorted, and `counts [S]` its rows.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from distill.ops.scan import segment_tail_logsumexp
from distill.ops.segment import segment_argsort, segment_log_softmax, segment_mean, segment_start, segment_sum


def listnet(student: Tensor, target: Tensor, index: Tensor, num_lists: int, temperature: float) -> Tensor:
    """Computes the cross-entropy of two distributions of who comes first: ``-Σ_i softmax(y/T)_i log softmax(s)_i``.

    Reduction: sum within the list. Gradient path: to `student` only, ``softmax(s) - softmax(y/T)``. The temperature is
    that of the labels alone.

    Returns:
        `[S]`.

    Reference:
        Cao et al., "Learning to Rank: From Pairwise Approach to Listwise Approach", ICML 2007, section 4.2 with k = 1.
    """
    wanted = segment_log_softmax(target.detach() / temperature, index, num_lists).exp()
    return -segment_sum(wanted * segment_log_softmax(student, index, num_lists), index, num_lists)


def plackett_luce(
    student: Tensor, order_by: Tensor, index: Tensor, counts: Tensor, top: int | None
) -> tuple[Tensor, Tensor]:
    """Computes how unlikely the order of other scores is: ``Σ_k (log Σ_{i ≥ k} e^{s_i} - s_k)``, rows in that order.

    With `top`, the sum ends after that many places, and the rows behind them need not be in any order among
    themselves: each of the first is drawn before all that follow. Ties of `order_by` keep the order of the rows.
    Gradient path: to `student` only.

    Args:
        student: Scores `[M]`.
        order_by: What orders a list, descending `[M]`.
        index: List of each row `[M]`.
        counts: Rows of each list `[S]`.
        top: Number of places; all if not given.

    Returns:
        Sum and number of places of each list, `[S]` each.

    Reference:
        Xia et al., "Listwise Approach to Learning to Rank" (ListMLE), ICML 2008; with `top`: Kang et al., "DE-RRD: A
        Knowledge Distillation Framework for Recommender System", CIKM 2020, arXiv 2012.04357, eq. 7, where the items
        that follow the K-th are the uninteresting ones.
    """
    num_lists = counts.shape[0]
    ordered = student.index_select(0, segment_argsort(order_by.detach(), index))
    surprise = segment_tail_logsumexp(ordered, index, counts) - ordered
    place = torch.arange(index.shape[0], device=index.device) - segment_start(index, num_lists).index_select(0, index)
    if top is not None:
        surprise, counts = torch.where(place < top, surprise, 0.0), counts.clamp(max=top)
    return segment_sum(surprise, index, num_lists), counts


def multi_positive_softmax(student: Tensor, positive: Tensor, index: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
    """Computes ``-Σ_{i ∈ E} log(e^{s_i} / Σ_{j ∈ (S∖E) ∪ {i}} e^{s_j})``: positives do not compete with one another.

    Args:
        student: Scores `[M]`.
        positive: Which rows are in E `[M]` bool.
        index: List of each row `[M]`.
        counts: Rows of each list `[S]`.

    Returns:
        Sum and number of positives of each list, `[S]` each; both 0 in lists without a positive or without a negative.

    Reference:
        Zhang et al., "Rethinking the Role of Pre-ranking in Large-scale E-Commerce Searching System" (ASMOL), 2023,
        arXiv 2305.13647.
    """
    num_lists = counts.shape[0]
    positives = torch.zeros_like(counts).index_add(0, index, positive.to(counts.dtype))
    used = (positives > 0) & (positives < counts)
    negative_scores = student.masked_fill(positive, -torch.inf)
    peak = torch.zeros(num_lists, dtype=student.dtype, device=student.device) - torch.inf
    peak = peak.scatter_reduce(0, index, negative_scores.detach(), "amax")
    peak = torch.where(used, peak, 0.0).index_select(0, index)
    in_use = used.index_select(0, index)
    exponentials = torch.where(~positive & in_use, student - peak, -torch.inf).exp()
    total = segment_sum(exponentials, index, num_lists)
    against = torch.where(used, total, 1.0).log().index_select(0, index) + peak
    chosen = positive & in_use
    values = torch.where(chosen, F.softplus(torch.where(chosen, against - student, 0.0)), 0.0)
    return segment_sum(values, index, num_lists), torch.where(used, positives, 0)


def jrc(student: Tensor, labels: Tensor, positive: Tensor, index: Tensor, num_lists: int, alpha: float) -> Tensor:
    """Computes ``α · mean BCE + (1 - α) · mean_i -log softmax_{j}(f_{y_i})_i`` over the rows of a list.

    One logit s stands for the two of the paper, f_1 = s/2 and f_0 = -s/2: positives compete by f_1 and negatives by f_0
    with all rows of the list. The first part keeps the probability σ(s), the second orders.

    Args:
        student: Logits `[M]`.
        labels: In [0, 1] `[M]`, of the first part.
        positive: Which rows are positives `[M]` bool, of the second part.
        index: List of each row `[M]`.
        num_lists: S.
        alpha: Share of the first part.

    Returns:
        `[S]`.

    Reference:
        Sheng et al., "Joint Optimization of Ranking and Calibration with Contextualized Hybrid Model" (JRC), KDD 2023,
        arXiv 2208.06164, eq. 6 to 10. Deviation: a single logit.
    """
    calibration = F.binary_cross_entropy_with_logits(student, labels, reduction="none")
    as_positive = segment_log_softmax(0.5 * student, index, num_lists)
    as_negative = segment_log_softmax(-0.5 * student, index, num_lists)
    order = -torch.where(positive, as_positive, as_negative)
    return segment_mean(alpha * calibration + (1.0 - alpha) * order, index, num_lists)
