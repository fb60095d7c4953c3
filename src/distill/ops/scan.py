"""Running log-sum-exp within ragged requests."""

from __future__ import annotations

import torch
from torch import Tensor

from distill.ops.waiting import size_of


def segment_tail_logsumexp(values: Tensor, index: Tensor, counts: Tensor) -> Tensor:
    """Computes `log Σ_{j ≥ i} e^{v_j}` over the rows of the same segment from row i on.

    Distances are doubled from pass to pass, so that there are about log2 of the longest segment of them, and nothing
    leaves the logarithm: a tail far below the segment's maximum keeps its precision.

    Args:
        values: `[N]`.
        index: Segment of each row `[N]`, sorted.
        counts: Rows of each segment `[R]` int64.

    Returns:
        `[N]`, differentiable.
    """
    longest = size_of(counts.max(), values.shape[0]) if counts.numel() else 0
    total, distance = values, 1
    while distance < longest:
        same = index[distance:] == index[:-distance]
        joined = torch.logaddexp(total[:-distance], total[distance:])
        total = torch.cat([torch.where(same, joined, total[:-distance]), total[-distance:]])
        distance *= 2
    return total
