"""Gradients of lookups: those of autograd, without its sparse addition."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from distill.features.lookup import bag_mean, embedding_mean, embedding_rows
from distill.ops.rows import coalesced

IDS = torch.tensor([[0, 3], [3, 5], [1, 3]])
BAG, LENGTHS = torch.tensor([3, 3, 9, 2]), torch.tensor([3, 0, 1])


def _weight() -> torch.Tensor:
    return torch.randn(10, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64).requires_grad_()


def _loss(rows: torch.Tensor, mean: torch.Tensor) -> torch.Tensor:
    return (rows.square().sum(0) * mean[0] * mean[2].exp()).sum() + mean[1].sum()


def test_several_lookups_and_several_backwards_add_up_to_the_dense_gradient() -> None:
    own, dense = _weight(), _weight()
    for _ in range(2):
        _loss(embedding_rows(own, IDS).flatten(0, 1), embedding_mean(own, BAG, LENGTHS)).backward()
        starts = LENGTHS.cumsum(0) - LENGTHS
        mean = functional.embedding_bag(BAG, dense, starts, mode="mean")
        _loss(functional.embedding(IDS, dense).flatten(0, 1), mean).backward()
    assert own.grad is not None
    assert dense.grad is not None
    assert own.grad.is_sparse
    torch.testing.assert_close(own.grad.to_dense(), dense.grad)
    assert coalesced(own.grad).indices()[0].tolist() == [0, 1, 2, 3, 5, 9]


def test_a_dense_gradient_that_is_there_already_stays_dense() -> None:
    weight = _weight()
    weight.grad = torch.ones_like(weight)
    embedding_rows(weight, torch.tensor([2, 2])).sum().backward()
    assert weight.grad.tolist() == [[1.0] * 4] * 2 + [[3.0] * 4] + [[1.0] * 4] * 7


@pytest.mark.parametrize("lookup", [lambda w: embedding_rows(w, IDS), lambda w: embedding_mean(w, BAG, LENGTHS)])
def test_no_gradient_without_need(lookup: object) -> None:
    assert callable(lookup)
    weight = _weight()
    with torch.no_grad():
        assert not lookup(weight).requires_grad
    frozen = weight.detach()
    assert not lookup(frozen).requires_grad
    torch.testing.assert_close(lookup(weight).detach(), lookup(frozen))


def test_rows_in_bfloat16_are_float32_once_they_are_looked_up_and_so_are_their_gradients() -> None:
    stored = _weight().detach().bfloat16().requires_grad_()
    exact = stored.detach().float().requires_grad_()
    for weight in (stored, exact):
        for _ in range(2):
            rows, mean = embedding_rows(weight, IDS), embedding_mean(weight, BAG, LENGTHS)
            assert (rows.dtype, mean.dtype) == (torch.float32, torch.float32)
            _loss(rows.flatten(0, 1), mean).backward()
    assert stored.grad is not None
    assert exact.grad is not None
    assert stored.grad.dtype is torch.float32
    torch.testing.assert_close(stored.grad.to_dense(), exact.grad.to_dense())
    assert coalesced(stored.grad).values().bfloat16().float().ne(coalesced(stored.grad).values()).any()
    padded = torch.tensor([[3, 3, 9], [0, 0, 0]])
    for ids, lengths in ((padded, torch.tensor([3, 0])), (BAG, LENGTHS), (BAG[:0], torch.tensor([0, 0]))):
        with torch.no_grad():
            torch.testing.assert_close(embedding_mean(stored, ids, lengths), embedding_mean(exact, ids, lengths))


def test_means_of_a_table_in_bfloat16_are_those_of_float32() -> None:
    """256 rows of 1 and one of 2: a sum in bfloat16 would not get beyond 256."""
    weight = torch.tensor([[1.0], [2.0]]).bfloat16()
    ids = torch.tensor([0] * 256 + [1])
    assert float(bag_mean(weight, ids, torch.tensor([0]))) == pytest.approx(258 / 257)
