"""What the host knows of lists is true of them, and of what becomes of them."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from distill.list_sizes import ListSizes

COUNTS = st.lists(st.integers(0, 500), max_size=30)
SIZE = st.integers(0, 1 << 40)


def of(counts: list[int], positives: int | None = 3) -> ListSizes:
    return ListSizes.of(np.array(counts, dtype=np.int64), positives)


@given(COUNTS, COUNTS)
def test_lists_together(one: list[int], other: list[int]) -> None:
    both = of([*one, *other], 6)
    assert ListSizes.joined([of(one), of(other)]) == both
    assert ListSizes.joined([of(one), None]) is None
    assert ListSizes.joined([of(one, None), of(other)]) == both.with_positives(None)


@given(COUNTS, st.integers(0, 9))
def test_lists_that_grow(counts: list[int], rows: int) -> None:
    found = of(counts).with_added(rows, len(counts), sum(counts))
    grown = of([count + rows for count in counts])
    assert found.squares == grown.squares
    assert found.longest >= grown.longest
    assert found.positives == 3


@given(SIZE, SIZE, SIZE)
def test_coarse_sizes_are_greater_and_few(longest: int, squares: int, positives: int) -> None:
    known = ListSizes(longest, squares, positives)
    coarse = known.coarse()
    assert longest <= coarse.longest <= 1.5 * longest
    assert squares <= coarse.squares <= 1.5 * squares
    assert coarse.positives is not None
    assert positives <= coarse.positives <= 1.5 * positives
    assert coarse.coarse() == coarse
    assert known.with_positives(None).coarse().positives is None


def test_there_are_two_sizes_in_an_octave() -> None:
    sizes = {ListSizes(size, size, size).coarse() for size in range(1025, 2049)}
    assert sizes == {ListSizes(size, size, size) for size in (1536, 2048)}
