"""What NDCG would change by if two rows of a list swapped places."""

from __future__ import annotations

import torch
from torch import Tensor

from distill.ops.segment import segment_rank, segment_sum


def delta_ndcg(
    gain: Tensor, rank: Tensor, better: Tensor, worse: Tensor, index: Tensor, num_lists: int, normalise: bool
) -> Tensor:
    """Computes ``|1/log2(1 + π_i) - 1/log2(1 + π_j)| · |g_i - g_j|`` of pairs, with π counted from 1.

    Args:
        gain: Gain of each row `[M]`, such as 2^y - 1.
        rank: Place of each row in its list `[M]`, counted from 0.
        better: One row of each pair `[P]`.
        worse: The other `[P]`.
        index: List of each row `[M]`.
        num_lists: S.
        normalise: Whether to divide by the list's ideal DCG; without it, this is the change of DCG.

    Returns:
        `[P]`, detached; 0 in lists without any gain.

    Reference:
        Burges, "From RankNet to LambdaRank to LambdaMART: An Overview", MSR-TR-2010-82, section 4.
    """
    gain, discount = gain.detach(), 1.0 / torch.log2(rank.to(gain.dtype) + 2.0)
    change = (discount.index_select(0, better) - discount.index_select(0, worse)).abs()
    change = change * (gain.index_select(0, better) - gain.index_select(0, worse)).abs()
    if not normalise:
        return change
    place = segment_rank(gain, index, num_lists).to(gain.dtype)
    ideal = segment_sum(gain / torch.log2(place + 2.0), index, num_lists)
    inverse = torch.where(ideal > 0, 1.0 / ideal.clamp(min=1e-12), 0.0)
    return change * inverse.index_select(0, index.index_select(0, better))
