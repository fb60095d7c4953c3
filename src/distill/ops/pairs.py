"""All pairs of rows within ragged requests, block by block: no list of pairs is made, however long a request is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

BLOCK_PAIRS = 1 << 18
"""Most pairs of a block, unless one row has more partners: its intermediate values stay in a processor's cache."""


@dataclass(frozen=True)
class PairBlock:
    """Some pairs (a, b) of rows of the same segment: of G segments, A rows against B rows.

    Attributes:
        segment: `[G]` int64.
        first: Row a of the pairs `[G, A]` int64.
        second: Row b `[G, B]` int64.
        taken: Which pairs are meant `[G, A, B]` bool; all if None.
    """

    segment: Tensor
    first: Tensor
    second: Tensor
    taken: Tensor | None

    def of_first(self, values: Tensor) -> Tensor:
        """Returns the values of rows `[M]` that belong to a: `[G, A, 1]`."""
        return values[self.first].unsqueeze(2)

    def of_second(self, values: Tensor) -> Tensor:
        """Returns the values of rows `[M]` that belong to b: `[G, 1, B]`."""
        return values[self.second].unsqueeze(1)

    def difference(self, values: Tensor) -> Tensor:
        """Returns ``v_a - v_b`` of values of rows `[M]`: `[G, A, B]`."""
        return self.of_first(values) - self.of_second(values)


@dataclass(frozen=True)
class _Part:
    """Some of the rows of each segment."""

    rows: Tensor
    start: Tensor
    count: Tensor

    @classmethod
    def of(cls, counts: Tensor, mask: Tensor | None) -> _Part:
        if mask is None:
            return cls(torch.arange(int(counts.sum()), device=counts.device), counts.cumsum(0) - counts, counts)
        segment = torch.repeat_interleave(torch.arange(counts.shape[0], device=counts.device), counts)
        (rows,) = mask.nonzero(as_tuple=True)
        count = torch.bincount(segment.index_select(0, rows), minlength=counts.shape[0])
        return cls(rows, count.cumsum(0) - count, count)

    def take(self, segment: Tensor, begin: int, end: int) -> tuple[Tensor, Tensor]:
        """Returns the rows from place `begin` to `end` of segments `[G, end - begin]`, and which of them exist."""
        place = torch.arange(begin, end, device=segment.device).unsqueeze(0)
        exists = place < self.count.index_select(0, segment).unsqueeze(1)
        position = (self.start.index_select(0, segment).unsqueeze(1) + place).clamp(max=self.rows.shape[0] - 1)
        return self.rows[position], exists


def pair_blocks(
    counts: Tensor, first: Tensor | None = None, second: Tensor | None = None, each_once: bool = False
) -> Iterator[PairBlock]:
    """Goes through the pairs of rows of the same segment.

    Segments of about the same size share a block, padded to the longest; a long one is cut into blocks of some of its
    rows. The time grows with the number of pairs, the memory with that of rows.

    Args:
        counts: Rows of each segment `[S]` int64; rows of a segment are contiguous.
        first: Which rows are an a of (a, b) `[M]` bool; all if None.
        second: Which rows are a b `[M]` bool; all if None.
        each_once: Whether only pairs with a < b are meant, of all rows; else both orders, and a row with itself.

    Yields:
        Blocks; every pair is in one of them.
    """
    a, b = _Part.of(counts, first), _Part.of(counts, second)
    (used,) = ((a.count > 0) & (b.count > 0) & (counts > 1)).nonzero(as_tuple=True)
    if not used.numel():
        return
    sizes = torch.stack([a.count, b.count]).index_select(1, used)
    bits = torch.ceil(torch.log2(sizes.double())).long()
    _, bucket = torch.unique(bits[0] * 64 + bits[1], return_inverse=True)
    order = torch.argsort(bucket, stable=True)
    for members in torch.split(used[order], torch.bincount(bucket).tolist()):
        yield from _of_similar(members, a, b, each_once)


def _of_similar(segments: Tensor, a: _Part, b: _Part, each_once: bool) -> Iterator[PairBlock]:
    height, width = (int(part.count.index_select(0, segments).max()) for part in (a, b))
    rows = min(height, max(1, BLOCK_PAIRS // width))
    if each_once and height >= 32:  # rows of a block have no partners before its first one
        rows = min(rows, -(-height // 4))
    step = max(1, BLOCK_PAIRS // (rows * width))
    for some in torch.split(segments, step):
        for begin in range(0, height, rows):
            first, exists = a.take(some, begin, min(begin + rows, height))
            partners, others = b.take(some, begin if each_once else 0, width)
            taken = exists.unsqueeze(2) & others.unsqueeze(1)
            if each_once:
                taken = taken & (first.unsqueeze(2) < partners.unsqueeze(1))
            yield PairBlock(some, first, partners, None if bool(taken.all()) else taken)
