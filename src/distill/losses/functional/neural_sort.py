"""The order of a list, relaxed: for each place a distribution over the rows that may take it (NeuralSort).

A list is a request, or one task of it. `index [M]` names the list of each row, sorted, and `counts [S]` its rows. A
`plan` says what is known of the lists where the host may not look at them. With n rows of scores s, place k from 1 has
``P̂_k = softmax(((n + 1 - 2k) s - A 1) / (n T))`` with ``A_ij = |s_i - s_j|``.
Both parts grow with n, so the temperature T is divided out by n: it means the same in short and long lists.

Reference: Grover et al., "Stochastic Optimization of Sorting Networks via Continuous Relaxations" (NeuralSort), ICLR
2019, arXiv 1903.08850, eq. 5; its τ is n T.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from distill.ops.pairs import PairBlock, PairPlan, pair_blocks
from distill.ops.segment import segment_argsort, segment_start, segment_sum


def relaxed_top_k(
    scores: Tensor,
    index: Tensor,
    counts: Tensor,
    top: int,
    temperature: float,
    normalise: bool = True,
    plan: PairPlan | None = None,
) -> tuple[Tensor, Tensor]:
    """Computes how likely each row is among the first `top` of its list, and how likely among the others.

    ``Σ_{k ≤ top} P̂_ki / sg(Σ_k P̂_ki)`` and ``Σ_{k > top} P̂_ki / sg(Σ_k P̂_ki)``. The sum below the line has no gradient
    (sg): it brings a row's places to a sum of 1, so the two add up to 1 and their gradients do not to 0. The time grows
    with the pairs of a list, the memory with the rows. Gradient path: to `scores`, which cannot be differentiated
    again.

    Args:
        scores: `[M]`.
        index: List of each row `[M]`.
        counts: Rows of each list `[S]`.
        top: Number of places, at least 1.
        temperature: T > 0.
        normalise: Whether to divide by the sum of a row's places; else by `top`, which is the mean over the first.
        plan: See `pair_blocks`.

    Returns:
        `[M]` each, in [0, 1] if normalised.

    Reference:
        Wang et al., "Learning Cascade Ranking as One Network" (LCRON), ICML 2025, arXiv 2503.09492; without
        `normalise`: Wang et al., "Adaptive Neural Ranking Framework" (ARF), WWW 2024, arXiv 2310.10462.
    """
    far = distance_sums(scores, index, counts)
    first, others = _TopShare.apply(  # type: ignore[no-untyped-call]
        scores, far, index, counts, top, temperature, normalise, plan
    )
    return first, others


def order_surprise(
    scores: Tensor,
    order_by: Tensor,
    index: Tensor,
    counts: Tensor,
    temperature: float,
    plan: PairPlan | None = None,
) -> tuple[Tensor, Tensor]:
    """Computes how unlikely the order of other scores is, place by place: ``-Σ_k log P̂_k,π(k)``.

    π(k) is the row that `order_by` puts at place k; ties keep the order of the rows. Gradient path: to `scores` only,
    which cannot be differentiated again.

    Args:
        scores: `[M]`.
        order_by: What orders a list, descending `[M]`.
        index: List of each row `[M]`.
        counts: Rows of each list `[S]`.
        temperature: T > 0.
        plan: See `pair_blocks`.

    Returns:
        Sum and number of places of each list, `[S]` each; 0 for lists of less than two rows.

    Reference:
        Grover et al. 2019, section 6.1, the cross-entropy of the relaxed and the true permutation matrix.
    """
    far, order = distance_sums(scores, index, counts), segment_argsort(order_by.detach(), index)
    sums: Tensor = _OrderSurprise.apply(  # type: ignore[no-untyped-call]
        scores, far, order, index, counts, temperature, plan
    )
    return sums, counts * (counts >= 2)


def distance_sums(scores: Tensor, index: Tensor, counts: Tensor) -> Tensor:
    """Adds up the distances of each row from all rows of its list, ``Σ_j |s_i - s_j|``: `[M]`, with gradient.

    In ascending order, with r rows and a sum S before a row, it is ``(2 r - n) s + Σ_j s_j - 2 S``.
    """
    order = segment_argsort(-scores.detach(), index)
    ordered, start = scores.double()[order], segment_start(index, counts.shape[0])
    before = ordered.cumsum(0) - ordered
    at_start = torch.cat([before, before.new_zeros(1)])[start.clamp(max=before.shape[0])]
    before = before - at_start.index_select(0, index)
    rank = torch.arange(index.shape[0], device=index.device) - start.index_select(0, index)
    total = segment_sum(ordered, index, counts.shape[0]).index_select(0, index)
    sums = (2 * rank - counts.index_select(0, index)) * ordered + total - 2 * before
    return torch.empty_like(sums).index_copy(0, order, sums).to(scores.dtype)


class _Places:
    """What the distributions of places are computed from, block by block."""

    def __init__(self, scores: Tensor, far: Tensor, index: Tensor, counts: Tensor, temperature: float) -> None:
        size = counts.index_select(0, index)
        start = segment_start(index, counts.shape[0])
        self.place = torch.arange(index.shape[0], device=index.device) - start.index_select(0, index)
        self.start = start
        self.scores, self.far = scores.detach(), far.detach()
        self.slope = (size - 1 - 2 * self.place).to(scores.dtype)  # n + 1 - 2k, with k from 1
        self.scale = 1.0 / (size.to(scores.dtype) * temperature)

    def log_shares(self, block: PairBlock) -> Tensor:
        """Returns ``log P̂`` of a block, a place for each row a: `[G, A, B]`, -inf where a pair is not meant."""
        logits = block.of_first(self.slope) * block.of_second(self.scores) - block.of_second(self.far)
        logits = logits * block.of_first(self.scale)
        if block.taken is None:
            return torch.log_softmax(logits, 2)
        shares = torch.log_softmax(logits.masked_fill(~block.taken, -torch.inf), 2)
        return shares.masked_fill(~block.taken, -torch.inf)  # a place that does not exist has only such

    def add_slopes(self, block: PairBlock, slope: Tensor, of_scores: Tensor, of_far: Tensor) -> None:
        """Adds the gradients of a block's logits `[G, A, B]` to those of what they are made of, `[M]` each."""
        scaled, rows = slope * block.of_first(self.scale), block.second.flatten()
        of_scores.index_add_(0, rows, (scaled * block.of_first(self.slope)).sum(1).flatten())
        of_far.index_add_(0, rows, scaled.sum(1).neg_().flatten())


class _TopShare(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        scores: Tensor,
        far: Tensor,
        index: Tensor,
        counts: Tensor,
        top: int,
        temperature: float,
        normalise: bool,
        plan: PairPlan | None,
    ) -> tuple[Tensor, Tensor]:
        places = _Places(scores, far, index, counts, temperature)
        first = (counts.index_select(0, index) == 1).to(scores.dtype)  # a list of one row is in no block
        others = torch.zeros_like(first)
        for block in pair_blocks(counts, plan=plan):
            shares, rows = places.log_shares(block).exp(), block.second.flatten()
            of_first = shares * (block.of_first(places.place) < top)
            first.index_add_(0, rows, of_first.sum(1).flatten())
            others.index_add_(0, rows, (shares - of_first).sum(1).flatten())
        whole = first + others
        whole = torch.where(whole > 0, whole, 1.0) if normalise else torch.full_like(whole, top)  # no place may want it
        ctx.save_for_backward(scores, far, index, counts, whole)
        ctx.top, ctx.temperature, ctx.plan = top, temperature, plan
        return first / whole, others / whole

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, Tensor, None, None, None, None, None, None]:
        scores, far, index, counts, whole = ctx.saved_tensors
        places = _Places(scores, far, index, counts, ctx.temperature)
        of_first, of_others = (wanted / whole for wanted in grad_outputs)
        of_scores, of_far = torch.zeros_like(scores), torch.zeros_like(far)
        for block in pair_blocks(counts, plan=ctx.plan):
            shares, is_first = places.log_shares(block).exp(), block.of_first(places.place) < ctx.top
            slope = torch.where(is_first, block.of_second(of_first), block.of_second(of_others))
            slope = shares * (slope - (shares * slope).sum(2, keepdim=True))
            places.add_slopes(block, slope, of_scores, of_far)
        return of_scores, of_far, None, None, None, None, None, None


class _OrderSurprise(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        scores: Tensor,
        far: Tensor,
        order: Tensor,
        index: Tensor,
        counts: Tensor,
        temperature: float,
        plan: PairPlan | None,
    ) -> Tensor:
        places = _Places(scores, far, index, counts, temperature)
        sums = torch.zeros(counts.shape, dtype=scores.dtype, device=scores.device)
        of_scores, of_far = torch.zeros_like(scores), torch.zeros_like(far)
        for block in pair_blocks(counts, plan=plan):
            log_shares = places.log_shares(block)
            exists = torch.ones_like(block.first, dtype=torch.bool) if block.taken is None else block.taken.any(2)
            column = order[block.first] - places.start[block.segment].unsqueeze(1)
            column = torch.where(exists, column, 0).unsqueeze(2)
            found = log_shares.gather(2, column).squeeze(2)
            sums.index_add_(0, block.segment, torch.where(exists, -found, 0.0).sum(1))
            slope = log_shares.exp().scatter_add(2, column, -torch.ones_like(found).unsqueeze(2))
            places.add_slopes(block, torch.where(exists.unsqueeze(-1), slope, 0.0), of_scores, of_far)
        ctx.save_for_backward(of_scores, of_far, index)
        return sums

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, Tensor, None, None, None, None, None]:
        of_scores, of_far, index = ctx.saved_tensors
        by_row = grad_outputs[0].index_select(0, index)
        return by_row * of_scores, by_row * of_far, None, None, None, None, None
