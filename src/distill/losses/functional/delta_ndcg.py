"""What NDCG would change by if two rows of a list swapped places."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from distill.ops.pairs import PairBlock
from distill.ops.segment import segment_rank, segment_sum


@dataclass(frozen=True)
class DeltaNDCG:
    """``|1/log2(1 + π_i) - 1/log2(1 + π_j)| · |g_i - g_j| / ideal DCG`` of pairs, with places π counted from 1.

    Attributes:
        gain: g, gain of each row `[M]`, such as 2^y - 1.
        discount: ``1/log2(1 + π)`` of each row `[M]`.
        inverse: 1 over the ideal DCG of each list `[S]`, 0 without any gain; all 1 for the change of DCG.

    Reference:
        Burges, "From RankNet to LambdaRank to LambdaMART: An Overview", MSR-TR-2010-82, section 4.
    """

    gain: Tensor
    discount: Tensor
    inverse: Tensor

    @classmethod
    def of(cls, gain: Tensor, rank: Tensor, index: Tensor, num_lists: int, normalise: bool) -> DeltaNDCG:
        """Prepares the change for rows with gains and places, counted from 0, in lists.

        Args:
            gain: `[M]`.
            rank: Place of each row in its list `[M]`, counted from 0.
            index: List of each row `[M]`.
            num_lists: S.
            normalise: Whether to divide by the list's ideal DCG; without it, this is the change of DCG.
        """
        gain = gain.detach()
        discount = 1.0 / torch.log2(rank.to(gain.dtype) + 2.0)
        if not normalise:
            return cls(gain, discount, gain.new_ones(num_lists))
        place = segment_rank(gain, index, num_lists).to(gain.dtype)
        ideal = segment_sum(gain / torch.log2(place + 2.0), index, num_lists)
        return cls(gain, discount, torch.where(ideal > 0, 1.0 / ideal.clamp(min=1e-12), 0.0))

    def __call__(self, block: PairBlock) -> Tensor:
        """Returns the change of each pair of a block `[G, A, B]`."""
        change = block.difference(self.discount).abs_() * block.difference(self.gain).abs_()
        return change.mul_(self.inverse[block.segment].view(-1, 1, 1))
