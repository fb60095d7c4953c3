from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distill.data.stream.packing import batch_bounds, count_batches


def greedy(lengths: list[int], budget: int) -> int:
    batches, room = 0, 0
    for length in lengths:
        if length > room:
            batches, room = batches + 1, budget
        room -= length
    return batches


@given(st.lists(st.integers(1, 12), max_size=60), st.integers(1, 15))
def test_fewest_batches_within_budget(lengths: list[int], budget: int) -> None:
    array = np.array(lengths, dtype=np.int64)
    bounds = batch_bounds(array, budget)
    assert bounds[0] == 0
    assert bounds[-1] == len(lengths)
    sizes = [lengths[a:b] for a, b in pairwise(bounds)]
    assert all(batch and (sum(batch) <= budget or len(batch) == 1) for batch in sizes)
    assert len(sizes) == count_batches(array, budget) == greedy(lengths, budget)


def test_unit_requests_fill_batches_exactly() -> None:
    assert np.diff(batch_bounds(np.ones(40, dtype=np.int64), 8)).tolist() == [8] * 5


@pytest.mark.parametrize(("rows", "budget"), [(9901, 100), (41, 8), (7, 3)])
def test_no_tiny_tail(rows: int, budget: int) -> None:
    sizes = np.diff(batch_bounds(np.ones(rows, dtype=np.int64), budget))
    assert sizes.size == -(-rows // budget)
    assert sizes.max() - sizes.min() <= 1


def test_ragged_requests_are_cut_evenly() -> None:
    lengths = np.array([4, 4, 4, 4, 4, 4, 4], dtype=np.int64)  # 28 candidates; greedy would fill 20 and leave 8
    assert batch_bounds(lengths, 20).tolist() in ([0, 3, 7], [0, 4, 7])


def test_request_over_the_budget_is_alone() -> None:
    assert batch_bounds(np.array([2, 9, 2, 2], dtype=np.int64), 4).tolist() == [0, 1, 2, 4]


def test_nothing_to_pack() -> None:
    assert batch_bounds(np.array([], dtype=np.int64), 4).tolist() == [0]
    assert count_batches(np.array([], dtype=np.int64), 4) == 0
