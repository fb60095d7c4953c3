"""All pairs of rows within ragged requests, block by block: no list of pairs is made, however long a request is.

Where the host may look at the segments' sizes, blocks fit them. Where it may not, it goes by what it knew before
(`PairPlan`), and blocks are larger than the pairs that are in them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from math import isqrt

import torch
from torch import Tensor

BLOCK_PAIRS = 1 << 18
"""Most pairs of a block, unless one row has more partners: its intermediate values stay in a processor's cache."""

PLANNED_PAIRS = 1 << 22
"""Most pairs of a block of a plan, unless one row has more partners: 16 MiB for each number of a pair, of which a term
has up to 28 at a time."""

_BLOCK_COST = 1 << 20
"""Pairs that take a GPU about as long as to begin with another block: some forty launches of two microseconds."""


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
class PairPlan:
    """Which blocks hold the pairs of segments whose sizes the host does not know, but their bounds.

    With n_i the size of the i-th largest segment, ``n_i ≤ longest``, ``i n_i ≤ Σ n`` and ``i n_i² ≤ Σ n²``. So where
    the segments are sorted by size, how long those from place i on are at most is known, and blocks of neighbours are
    as wide as that. There are as few blocks as their cost allows.

    Attributes:
        num_segments: How many segments there are; those behind them are none of the pairs' business.
        num_rows: Of all segments, and of what is behind them.
        parts: Of the sorted segments: from which place, to which, and their most rows.
    """

    num_segments: int
    num_rows: int
    parts: tuple[tuple[int, int, int], ...]

    @classmethod
    def of(cls, num_segments: int, num_rows: int, longest: int, squares: int) -> PairPlan:
        """Makes a plan.

        Args:
            num_segments: S.
            num_rows: Length of the tensors of rows, M.
            longest: No segment has more rows.
            squares: The squares of the numbers of rows add up to no more.
        """
        return cls(num_segments, num_rows, _parts(num_segments, num_rows, longest, squares))

    @property
    def num_pairs(self) -> int:
        """How many pairs are in its blocks, those included that are not meant."""
        return sum((end - begin) * width**2 for begin, end, width in self.parts)


@lru_cache(maxsize=256)
def _parts(num_segments: int, num_rows: int, longest: int, squares: int) -> tuple[tuple[int, int, int], ...]:
    """Divides sorted segments at powers of two and halfway between, so that pairs and blocks together cost least."""
    powers = [1 << bit for bit in range(num_segments.bit_length())]
    places = sorted({0, *(at for power in powers for at in (power, 3 * power // 2) if at < num_segments)})
    widths = [min(longest, num_rows // (at + 1), isqrt(squares // (at + 1))) for at in places]
    used = [at for at, width in zip(places, widths, strict=True) if width > 1]
    if not used or not num_segments:
        return ()
    ends = [*places[1:], num_segments][: len(used)]
    best: list[tuple[int, tuple[tuple[int, int, int], ...]]] = [(0, ())]
    for number, end in enumerate(ends):
        costs = []
        for start, (cost, before) in enumerate(best):
            pairs = (end - places[start]) * widths[start] ** 2
            costs.append((cost + pairs + _BLOCK_COST, (*before, (places[start], end, widths[start]))))
        best.append(min(costs[: number + 1]))
    return best[-1][1]


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
    counts: Tensor,
    first: Tensor | None = None,
    second: Tensor | None = None,
    each_once: bool = False,
    plan: PairPlan | None = None,
    width: int = 1,
) -> Iterator[PairBlock]:
    """Goes through the pairs of rows of the same segment.

    Segments of about the same size share a block, padded to the longest; a long one is cut into blocks of some of its
    rows. The time grows with the number of pairs, the memory with that of rows.

    With a plan, nothing is asked of the device, and pairs beyond `first` and `second` may be in blocks too: the caller
    knows them by what they are worth.

    Args:
        counts: Rows of each segment `[S]` int64; rows of a segment are contiguous.
        first: Which rows are an a of (a, b) `[M]` bool; all if None.
        second: Which rows are a b `[M]` bool; all if None.
        each_once: Whether only pairs with a < b are meant, of all rows; else both orders, and a row with itself.
        plan: What is known of the segments; None to look at them.
        width: Numbers that the caller has for each pair of a block of a plan, about, by which it is cut.

    Yields:
        Blocks; every pair is in one of them.
    """
    if plan is not None:
        yield from _planned(counts, plan, each_once, max(BLOCK_PAIRS, PLANNED_PAIRS // width))
        return
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
        for block in _blocks(some, a, b, (height, width, rows), each_once):
            everything = block.taken is not None and bool(block.taken.all())
            yield replace(block, taken=None) if everything else block


def _blocks(segments: Tensor, a: _Part, b: _Part, size: tuple[int, int, int], each_once: bool) -> Iterator[PairBlock]:
    """Cuts the pairs of segments, of at most `height` and `width` rows, into blocks of some of their rows a."""
    height, width, rows = size
    for begin in range(0, height, rows):
        first, exists = a.take(segments, begin, min(begin + rows, height))
        partners, others = b.take(segments, begin if each_once else 0, width)
        taken = exists.unsqueeze(2) & others.unsqueeze(1)
        if each_once:
            taken = taken & (first.unsqueeze(2) < partners.unsqueeze(1))
        yield PairBlock(segments, first, partners, taken)


def _planned(counts: Tensor, plan: PairPlan, each_once: bool, most: int) -> Iterator[PairBlock]:
    start = counts.cumsum(0) - counts
    counts = torch.where(counts > 1, counts, 0)[: plan.num_segments]
    order = counts.argsort(descending=True, stable=True)
    rows = torch.arange(plan.num_rows, device=counts.device)
    part = _Part(rows, start[: plan.num_segments], counts)
    for begin, end, width in plan.parts:
        some = max(1, min(width, most // width))
        for segments in torch.split(order[begin:end], max(1, most // (some * width))):
            yield from _blocks(segments, part, part, (width, width, some), each_once)
