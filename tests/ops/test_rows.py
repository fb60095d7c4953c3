"""Sums of the gradient rows of equal ids."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from distill.ops.rows import coalesced, sum_rows


@given(st.lists(st.integers(0, 9), max_size=60), st.integers(1, 5))
def test_equals_a_loop(ids: list[int], width: int) -> None:
    values = torch.randn(len(ids), width, dtype=torch.float64)
    rows, sums = sum_rows(torch.tensor(ids, dtype=torch.int64), values, 10)
    assert rows.tolist() == sorted(set(ids))
    for row, total in zip(rows.tolist(), sums, strict=True):
        expected = sum((values[i] for i, other in enumerate(ids) if other == row), torch.zeros(width))
        torch.testing.assert_close(total, expected.double())


def test_equals_coalesce_bit_for_bit_and_again() -> None:
    torch.manual_seed(0)
    ids, values = torch.randint(0, 300, (5000,)), torch.randn(5000, 16)
    grad = torch.sparse_coo_tensor(ids.unsqueeze(0), values, (300, 16))
    first = coalesced(grad)
    assert first.is_coalesced()
    assert torch.equal(first.indices(), grad.coalesce().indices())
    assert torch.equal(first.values(), coalesced(grad).values())
    torch.testing.assert_close(first.values(), grad.coalesce().values())
    assert coalesced(first) is first


@pytest.mark.parametrize("num_ids", [2**31, 2**31 + 5, 2**40])
def test_ids_beyond_32_bits(num_ids: int) -> None:
    ids = torch.tensor([num_ids - 1, 3, num_ids - 1])
    rows, sums = sum_rows(ids, torch.ones(3, 2), num_ids)
    assert rows.tolist() == [3, num_ids - 1]
    assert sums.tolist() == [[1, 1], [2, 2]]
