"""Sorting within groups in one pass, and ranks that know their ties.

N rows in G groups. Every metric that orders rows starts here, so that ties are treated alike everywhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from distill.errors import DataError
from distill.metrics.functional.reduce import count_of_each
from distill.metrics.functional.requests import Requests
from distill.ops.waiting import can_look


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
            "A metric was given NaN scores.",
            expected="scores that can be ordered",
            found=f"{int(torch.isnan(scores).sum())} NaN of {scores.numel()}",
            remedy="Find the step at which the model diverged, or filter these rows.",
        )
    if scores.dtype in (torch.float32, torch.float16, torch.bfloat16):
        bits = (scores.to(torch.float32) + 0.0).view(torch.int32)  # the sum turns -0 into 0
        return bits.bitwise_xor_((bits >> 31).bitwise_and_(0x7FFFFFFF)).to(torch.int64).add_(0x80000000)
    code: Tensor = torch.unique(scores, return_inverse=True)[1]
    return code


@dataclass(frozen=True)
class TieOrder:
    """Rows in ascending order of a score, perhaps within groups, with their ties.

    Attributes:
        order: `[N]` int64, the rows in sorted order; ties keep row order.
        block: `[N]` int64, a number for each sorted row that starts at 0 and grows by one wherever the group or the
            score changes.
        group: `[N]` int64, the group of each sorted row; None where there are no groups.
    """

    order: Tensor
    block: Tensor
    group: Tensor | None = None

    @cached_property
    def num_blocks(self) -> int:
        """Number of ties, rows that are not tied included."""
        return int(self.block[-1]) + 1 if self.block.numel() else 0

    @property
    def is_strict(self) -> bool:
        """Whether no rows are tied."""
        return self.num_blocks == self.block.numel()

    @cached_property
    def block_size(self) -> Tensor:
        """Rows of each tie `[ties]` int64."""
        return torch.ones_like(self.block) if self.is_strict else count_of_each(self.block, self.num_blocks)

    def of_blocks(self, sorted_: Tensor) -> Tensor:
        """Takes from numbers of sorted rows `[N]`, which are the same within a tie, one for each tie `[ties]`."""
        if self.is_strict:
            return sorted_
        return sorted_.index_select(0, self.block_size.cumsum(0).sub_(self.block_size))

    def of_sorted(self, blocks: Tensor) -> Tensor:
        """Gives each sorted row the number of its tie: `[ties]` to `[N]`."""
        return blocks if self.is_strict else blocks.index_select(0, self.block)

    def only(self, places: Tensor) -> TieOrder:
        """Keeps some of the sorted rows, by ascending place `[M]` int64: they are the same rows of the same table."""
        group = None if self.group is None else self.group.index_select(0, places)
        return TieOrder(self.order.index_select(0, places), blocks_of(self.block.index_select(0, places)), group)

    def within(self, group: Tensor) -> TieOrder:
        """Sorts by `group [N]` int64 in `[0, 2³¹)`, in any order; rows of a group keep the order that they have."""
        rows, key = _stable_sort(group.index_select(0, self.order))
        block = self.block.index_select(0, rows)
        change = (key[1:] != key[:-1]) | (block[1:] != block[:-1])
        return TieOrder(self.order.index_select(0, rows), _blocks(change, rows.numel()), key)


def order_by(scores: Tensor) -> TieOrder:
    """Sorts `scores [N]`.

    Raises:
        DataError: If a score is NaN.
    """
    order, code = _stable_sort(ordinal(scores))
    return TieOrder(order, blocks_of(code))


def order_within(scores: Tensor, group: Tensor) -> TieOrder:
    """Sorts rows by group and, within it, by ascending score.

    Args:
        scores: `[N]`.
        group: `[N]` int64 in `[0, 2³¹)`, in any order.

    Returns:
        The order.

    Raises:
        DataError: If a score is NaN or the shapes differ.
    """
    if scores.dim() != 1 or scores.shape != group.shape:
        raise DataError(
            "Scores and groups of a metric do not match.",
            expected="two vectors of one length",
            found=f"{tuple(scores.shape)} and {tuple(group.shape)}",
        )
    return order_by(scores).within(group)


def blocks_of(values: Tensor) -> Tensor:
    """Numbers the runs of equal values `[N]` int64, from 0."""
    return _blocks(values[1:] != values[:-1], values.numel())


def _blocks(change: Tensor, num_rows: int) -> Tensor:
    """Numbers the blocks of N sorted rows `[N]` int64, from whether a row differs from the one before it `[N - 1]`."""
    block = torch.zeros(num_rows, dtype=torch.int64, device=change.device)
    torch.cumsum(change, 0, out=block[1:])
    return block


def _stable_sort(code: Tensor) -> tuple[Tensor, Tensor]:
    """Sorts `code [N]`, integers in `[0, 2³²)`: the rows in sorted order and the sorted integers, both `[N]` int64.

    Code and row go into one integer: sorting integers alone is several times faster than sorting with their rows.
    """
    bits = max(code.numel() - 1, 0).bit_length()
    key = sort_integers((code << bits).bitwise_or_(torch.arange(code.numel(), device=code.device)))
    return key & ((1 << bits) - 1), key.bitwise_right_shift_(bits)


def sort_integers(values: Tensor) -> Tensor:
    """Sorts `values [N]` int64, perhaps in place; on the CPU NumPy's vectorised sort is faster than `Tensor.sort`."""
    if not can_look(values):
        return values.sort().values
    values.numpy().sort()
    return values


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
        """Keeps some candidates, by ascending position `[M]` int64, with their ranks among all."""
        better, tied, index = (column.index_select(0, rows) for column in (self.better, self.tied, self.index))
        return TiedRanks(better, tied, index, self.num_requests)

    def request_size(self) -> Tensor:
        """Counts the candidates of each request, of those that were kept `[R]` int64."""
        return self._request_size

    @cached_property
    def _request_size(self) -> Tensor:
        return count_of_each(self.index, self.num_requests)


def tied_ranks(scores: Tensor, index: Tensor, num_requests: int, requests: Requests | None = None) -> TiedRanks:
    """Ranks candidates within their request by descending score.

    Args:
        scores: `[N]`, higher is better; infinities are allowed.
        index: `[N]` int64, sorted, in `0..R-1`.
        num_requests: R.
        requests: The same as `Requests`, if they are there already.

    Returns:
        The ranks with their ties.

    Raises:
        DataError: If a score is NaN, the shapes differ, or `index` is not sorted.
    """
    of = Requests(index, num_requests) if requests is None else requests
    of.require_sorted()
    ordered = order_within_requests(scores, index, num_requests, of)
    stop = of.stop.index_select(0, ordered.of_blocks(index))  # the sorted rows have the same index
    better = ordered.of_sorted(stop.sub_(ordered.block_size.cumsum(0)))
    better = torch.empty_like(index).scatter_(0, ordered.order, better)
    tied = ordered.block_size  # ones in any order, if no rows are tied
    if not ordered.is_strict:
        tied = torch.empty_like(index).scatter_(0, ordered.order, ordered.of_sorted(tied))
    return TiedRanks(better, tied, index, num_requests)


def order_within_requests(
    scores: Tensor, index: Tensor, num_requests: int, requests: Requests | None = None
) -> TieOrder:
    """Does what `order_within` does, in one sort: a row is told from those of its request by few bits.

    Args:
        scores: `[N]`.
        index: `[N]` int64, sorted, in `0..R-1`.
        num_requests: R.
        requests: The same as `Requests`, if they are there already.

    Returns:
        The order.

    Raises:
        DataError: If a score is NaN or the shapes differ.
    """
    of = Requests(index, num_requests) if requests is None else requests
    if scores.shape != index.shape or not of.fit_one_key:
        return order_within(scores, index)
    bits = of.place_bits
    key = sort_integers(ordinal(scores).bitwise_left_shift_(bits).bitwise_or_(of.key))
    order = (key & ((1 << bits) - 1)).add_(of.start_of_row)
    return TieOrder(order, blocks_of(key.bitwise_right_shift_(bits)), index)
