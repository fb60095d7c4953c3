"""Sorting within groups in one pass, and ranks that know their ties.

N rows in G groups. Every metric that orders rows starts here, so that ties are treated alike everywhere.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from distill.errors import DataError
from distill.ops.segment import segment_count


def ordinal(scores: Tensor) -> Tensor:
    """Maps scores to integers in `[0, 2³²)` with the same order and the same ties.

    The bits of a float32, with the negative half mirrored, are such integers; wider types go through their sorted
    distinct values.

    Args:
        scores: `[N]` of any real type.

    Returns:
        `[N]` int64.

    Raises:
        DataError: If a score is NaN.
    """
    if bool(torch.isnan(scores).any()):
        raise DataError(
            "A metric was given NaN scores",
            expected="scores that can be ordered",
            found=f"{int(torch.isnan(scores).sum())} NaN of {scores.numel()}",
            remedy="find the step at which the model diverged, or filter these rows",
        )
    if scores.dtype in (torch.float32, torch.float16, torch.bfloat16):
        bits = scores.to(torch.float32).contiguous().view(torch.int32).to(torch.int64)
        return torch.where(bits < 0, -(bits & 0x7FFFFFFF), bits) + 0x80000000
    code: Tensor = torch.unique(scores, return_inverse=True)[1]
    return code


def sort_with_ties(scores: Tensor, group: Tensor) -> tuple[Tensor, Tensor]:
    """Sorts rows by group and, within it, by ascending score.

    Args:
        scores: `[N]`.
        group: `[N]` int64 in `[0, 2³¹)`, in any order.

    Returns:
        `order [N]`, the rows in sorted order (ties keep row order), and `block [N]`, a number for each sorted row that
        starts at 0 and grows by one wherever the group or the score changes.

    Raises:
        DataError: If a score is NaN or the shapes differ.
    """
    if scores.dim() != 1 or scores.shape != group.shape:
        raise DataError(
            "Scores and groups of a metric do not match",
            expected="two vectors of one length",
            found=f"{tuple(scores.shape)} and {tuple(group.shape)}",
        )
    key, order = torch.sort((group << 32) | ordinal(scores), stable=True)
    change = torch.ones_like(key)
    change[1:] = key[1:] != key[:-1]
    return order, change.cumsum(0) - 1


@dataclass(frozen=True)
class TiedRanks:
    """Ranks of candidates within their request when ties are broken uniformly at random.

    A candidate takes each of the ranks `better … better + tied − 1` (0 is the best) with equal probability.

    Attributes:
        better: `[N]` int64, candidates of the request with a higher score.
        tied: `[N]` int64, candidates of the request with the same score, itself included.
        index: `[N]` int64, sorted: the request of each candidate.
        num_requests: R; requests without candidates are allowed.
    """

    better: Tensor
    tied: Tensor
    index: Tensor
    num_requests: int

    def select(self, rows: Tensor) -> TiedRanks:
        """Keeps some candidates by a mask `[N]` bool, with their ranks among all."""
        return TiedRanks(self.better[rows], self.tied[rows], self.index[rows], self.num_requests)

    def request_size(self) -> Tensor:
        """Counts the candidates of each request, of those that were kept `[R]` int64."""
        return segment_count(self.index, self.num_requests)


def tied_ranks(scores: Tensor, index: Tensor, num_requests: int) -> TiedRanks:
    """Ranks candidates within their request by descending score.

    Args:
        scores: `[N]`, higher is better; infinities are allowed.
        index: `[N]` int64, sorted, in `0..R-1`.
        num_requests: R.

    Returns:
        The ranks with their ties.

    Raises:
        DataError: If a score is NaN, the shapes differ, or `index` is not sorted.
    """
    if bool((index[1:] < index[:-1]).any()):
        raise DataError(
            "The candidates of a request are not contiguous",
            expected="a sorted request index",
            found="an index that decreases",
            remedy="order the rows with distill.metrics.rows.canonical",
        )
    order, block = sort_with_ties(scores, index)
    size = torch.bincount(block)
    block_stop = size.cumsum(0)
    request_stop = segment_count(index, num_requests).cumsum(0)
    better = torch.empty_like(index)
    tied = torch.empty_like(index)
    better[order] = request_stop[index] - block_stop[block]
    tied[order] = size[block]
    return TiedRanks(better, tied, index, num_requests)
