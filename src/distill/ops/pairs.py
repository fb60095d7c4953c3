"""All pairs of rows within ragged requests, without padding or loops."""

from __future__ import annotations

import torch
from torch import Tensor


def segment_pairs(counts: Tensor) -> tuple[Tensor, Tensor]:
    """Lists each unordered pair of rows of the same segment once.

    Args:
        counts: Rows of each segment `[R]` int64; rows of a segment are contiguous.

    Returns:
        `first [P]` and `second [P]` int64, first < second, P = Σ n (n − 1) / 2, sorted by first, then second.
    """
    last = torch.repeat_interleave(counts.cumsum(0), counts)
    rows = torch.arange(last.shape[0], device=counts.device)
    partners = last - rows - 1
    first = torch.repeat_interleave(rows, partners)
    before = (partners.cumsum(0) - partners).index_select(0, first)
    second = torch.arange(first.shape[0], device=counts.device) - before + first + 1
    return first, second
