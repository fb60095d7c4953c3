"""Segment operations: reductions, softmax, ranks and top-k within ragged requests, without padding or loops.

`index [N]` names the segment of each row, in `0..num_segments-1`, and is sorted: the rows of a segment are contiguous.
"""

from __future__ import annotations

import torch
from torch import Tensor


def segment_count(index: Tensor, num_segments: int) -> Tensor:
    """Counts the rows of each segment.

    Returns:
        `[num_segments]` int64; 0 for empty segments.
    """
    counts = torch.zeros(num_segments, dtype=torch.int64, device=index.device)
    return counts.scatter_add_(0, index, torch.ones_like(index))  # bincount would look for the greatest


def segment_start(index: Tensor, num_segments: int) -> Tensor:
    """Returns the first row of each segment `[num_segments]` int64 (of an empty one: where it would be)."""
    counts = segment_count(index, num_segments)
    return counts.cumsum(0) - counts


def segment_sum(values: Tensor, index: Tensor, num_segments: int) -> Tensor:
    """Sums rows by segment.

    Args:
        values: `[N, ...]`.
        index: `[N]`.
        num_segments: R.

    Returns:
        `[R, ...]`; 0 for empty segments.

    >>> segment_sum(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([0, 0, 1]), num_segments=3)
    tensor([3., 3., 0.])
    """
    out = values.new_zeros((num_segments, *values.shape[1:]))
    return out.index_add(0, index, values)


def segment_mean(values: Tensor, index: Tensor, num_segments: int) -> Tensor:
    """Averages rows by segment `[R, ...]`; 0 for empty segments."""
    counts = segment_count(index, num_segments).clamp(min=1).to(values.dtype)
    return segment_sum(values, index, num_segments) / counts.view(-1, *([1] * (values.dim() - 1)))


def segment_max(values: Tensor, index: Tensor, num_segments: int) -> Tensor:
    """Takes the maximum of `values [N]` by segment `[R]`; -inf for empty segments."""
    out = values.new_full((num_segments,), float("-inf"))
    return out.scatter_reduce(0, index, values, "amax")


def segment_log_softmax(logits: Tensor, index: Tensor, num_segments: int) -> Tensor:
    """Log-softmax of `logits [N]` within each segment, shifted by the segment's maximum.

    Returns:
        `[N]`; exp of it sums to 1 in each segment.
    """
    peak = segment_max(logits.detach(), index, num_segments).index_select(0, index)
    shifted = logits - peak
    total = segment_sum(shifted.exp(), index, num_segments).index_select(0, index)
    return shifted - total.log()


def segment_argsort(scores: Tensor, index: Tensor) -> Tensor:
    """Returns the order `[N]` that sorts rows by segment and, within it, by descending score; ties keep row order."""
    by_score = torch.argsort(scores, descending=True, stable=True)
    return by_score[torch.argsort(index[by_score], stable=True)]


def segment_rank(scores: Tensor, index: Tensor, num_segments: int) -> Tensor:
    """Ranks rows within their segment by descending score, ties in row order.

    Returns:
        `[N]` int64; 0 is the best.

    >>> segment_rank(torch.tensor([0.1, 0.9, 0.5]), torch.tensor([0, 0, 1]), num_segments=2)
    tensor([1, 0, 0])
    """
    order = segment_argsort(scores, index)
    position = torch.arange(index.shape[0], device=index.device) - segment_start(index, num_segments)[index]
    rank = torch.empty_like(position)
    rank[order] = position
    return rank
