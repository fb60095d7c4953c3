from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from distill.errors import DataError
from distill.metrics.functional.ties import order_by, order_within, order_within_requests, ordinal, tied_ranks

FLOATS = st.lists(st.floats(width=32, allow_nan=False), min_size=1, max_size=20)


@given(values=FLOATS)
def test_ordinal_of_float32_keeps_order_and_ties(values: list[float]) -> None:
    scores = torch.tensor(values, dtype=torch.float32)
    code = ordinal(scores)
    assert torch.equal(code[:, None] < code[None], scores[:, None] < scores[None])
    assert int(code.min()) >= 0
    assert int(code.max()) < 2**32


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.int64])
def test_ordinal_of_every_type(dtype: torch.dtype) -> None:
    code = ordinal(torch.tensor([2, -1, 0, -3, 2]).to(dtype))
    assert code.argsort(stable=True).tolist() == [3, 1, 2, 0, 4]
    assert code[0] == code[4]


def test_ordinal_separates_float64_that_float32_cannot() -> None:
    code = ordinal(torch.tensor([1.0, 1.0 + 1e-12], dtype=torch.float64))
    assert code[0] < code[1]


def test_negative_zero_ties_with_zero_and_infinities_are_ordered() -> None:
    assert len(set(ordinal(torch.tensor([0.0, -0.0])).tolist())) == 1
    code = ordinal(torch.tensor([float("-inf"), -1e38, 1e38, float("inf")]))
    assert (code.diff() > 0).all()


def test_order_within_groups_by_hand() -> None:
    found = order_within(torch.tensor([1.0, 5.0, 1.0, 0.0, 5.0]), torch.tensor([1, 0, 1, 1, 1]))
    assert found.order.tolist() == [1, 3, 0, 2, 4]
    assert found.block.tolist() == [0, 1, 2, 2, 3]
    assert found.num_blocks == 4


@given(rows=st.lists(st.tuples(st.floats(width=32, allow_nan=False), st.integers(0, 2**31 - 1)), max_size=20))
def test_order_within_groups_is_a_stable_sort_by_both(rows: list[tuple[float, int]]) -> None:
    scores = torch.tensor([score for score, _ in rows], dtype=torch.float32)
    group = torch.tensor([number for _, number in rows], dtype=torch.int64)
    found = order_within(scores, group)
    expected = sorted(range(len(rows)), key=lambda i: (rows[i][1], rows[i][0]))
    assert found.order.tolist() == expected
    steps = [rows[a] != rows[b] for a, b in itertools.pairwise(expected)]
    assert found.block.tolist() == [sum(steps[:i]) for i in range(len(rows))]


@given(rows=st.lists(st.tuples(st.integers(0, 4), st.sampled_from([-2.5, -0.0, 0.0, 1.0])), max_size=20))
def test_one_sort_within_requests_is_the_same(rows: list[tuple[int, float]]) -> None:
    index = torch.tensor(sorted(request for request, _ in rows), dtype=torch.int64)
    scores = torch.tensor([score for _, score in rows])
    found = order_within_requests(scores, index, 5)
    expected = order_within(scores, index)
    assert torch.equal(found.order, expected.order)
    assert torch.equal(found.block, expected.block)


def test_requests_too_many_and_too_long_for_one_sort() -> None:
    index = torch.zeros(1500, dtype=torch.int64)
    ranks = tied_ranks(torch.arange(1500.0) // 3, index, 2**21)
    assert torch.equal(ranks.better, 1497 - torch.arange(1500) // 3 * 3)
    assert ranks.tied.unique().tolist() == [3]


def test_orders_of_one_row_and_of_none() -> None:
    assert order_by(torch.tensor([3.0])).block.tolist() == [0]
    none = order_by(torch.empty(0))
    assert none.order.shape == none.block.shape == (0,)
    assert none.num_blocks == 0


def test_tied_ranks_by_hand_with_an_empty_request() -> None:
    ranks = tied_ranks(torch.tensor([3.0, 1.0, 3.0, 0.0, 9.0]), torch.tensor([0, 0, 0, 0, 2]), 3)
    assert ranks.better.tolist() == [0, 2, 0, 3, 0]
    assert ranks.tied.tolist() == [2, 1, 2, 1, 1]
    assert ranks.request_size().tolist() == [4, 0, 1]


def test_tied_ranks_of_nothing() -> None:
    ranks = tied_ranks(torch.empty(0), torch.empty(0, dtype=torch.int64), 0)
    assert ranks.better.shape == ranks.tied.shape == (0,)


def test_bad_input_is_refused() -> None:
    index = torch.zeros(2, dtype=torch.int64)
    with pytest.raises(DataError, match="1 NaN of 2"):
        tied_ranks(torch.tensor([0.0, float("nan")]), index, 1)
    with pytest.raises(DataError, match="contiguous"):
        tied_ranks(torch.zeros(3), torch.tensor([0, 1, 0]), 2)
    with pytest.raises(DataError, match="do not match"):
        order_within(torch.zeros(3), index)


@pytest.mark.parametrize("size", [1e-40, 0.5, 1.0, 2.0, 3.0, 1e38])
def test_neighbouring_floats_are_apart_and_in_order(size: float) -> None:
    steps = [torch.tensor(size)]
    for _ in range(4):
        steps.append(torch.nextafter(steps[-1], torch.tensor(float("inf"))))
    above = torch.stack(steps)
    code = ordinal(torch.cat([-above.flip(0), above]))
    assert bool((code.diff() > 0).all())


def test_a_key_of_one_bit_too_many_is_not_sorted_as_one() -> None:
    last = 2**20
    index = torch.tensor([0, *[last] * 1500])
    ranks = tied_ranks(torch.arange(1501.0), index, last + 1)
    assert ranks.better.tolist() == [0, *reversed(range(1500))]
    assert ranks.tied.unique().tolist() == [1]


def test_scores_and_requests_of_other_lengths_are_refused_before_they_are_sorted() -> None:
    for scores in (torch.zeros(3), torch.zeros(1), torch.zeros(2, 1)):
        with pytest.raises(DataError, match="do not match"):
            order_within_requests(scores, torch.zeros(2, dtype=torch.int64), 1)


def test_some_rows_of_an_order_keep_their_order_and_ties() -> None:
    scores = torch.tensor([3.0, 1.0, 3.0, 2.0, 1.0, 0.0])
    found = order_by(scores).only(torch.tensor([1, 2, 4, 5]))
    assert found.order.tolist() == [1, 4, 0, 2]
    assert found.block.tolist() == [0, 0, 1, 1]
    assert found.block_size.tolist() == [2, 2]
    grouped = order_within(scores, torch.tensor([1, 0, 1, 0, 1, 1])).only(torch.tensor([0, 3, 5]))
    assert grouped.order.tolist() == [1, 4, 2]
    assert grouped.group is not None
    assert grouped.group.tolist() == [0, 1, 1]


@given(values=st.lists(st.integers(0, 3), max_size=12))
def test_numbers_of_ties_and_of_rows(values: list[int]) -> None:
    order = order_by(torch.tensor(values).float())
    ties = sorted(set(values))
    assert order.block_size.tolist() == [values.count(tie) for tie in ties]
    of_rows = torch.tensor(sorted(values), dtype=torch.int64)
    assert order.of_blocks(of_rows).tolist() == ties
    assert order.of_sorted(torch.tensor(ties, dtype=torch.int64)).tolist() == sorted(values)
