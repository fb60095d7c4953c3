from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from distill.errors import DataError
from distill.metrics.functional.ties import ordinal, sort_with_ties, tied_ranks

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


def test_sort_with_ties_by_hand() -> None:
    order, block = sort_with_ties(torch.tensor([1.0, 5.0, 1.0, 0.0, 5.0]), torch.tensor([1, 0, 1, 1, 1]))
    assert order.tolist() == [1, 3, 0, 2, 4]
    assert block.tolist() == [0, 1, 2, 2, 3]


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
        sort_with_ties(torch.zeros(3), index)
