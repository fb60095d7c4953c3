"""Queries that stand for items, how items take them, and attention by them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.func import functional_call
from torch.nn import functional

from distill.errors import ConfigError
from distill.layers.meta_queries import Assignment, MetaQueries, QueryAttention
from distill.layers.ragged import pad_values, present_values
from tests.layers.checking import arrays, count, randomise, rows


def _queries(assignment: Assignment = "soft", temperature: float = 0.7) -> MetaQueries:
    layer = MetaQueries(5, 4, 3, assignment, temperature).double()
    randomise(layer)
    return layer


def test_equals_numpy() -> None:
    layer, x = _queries(), rows(6, 5)
    w = arrays(layer)
    q = w["matrix"]
    np.testing.assert_allclose(layer.queries().detach().numpy(), (q @ q.T) @ q, atol=1e-12)
    scores = np.exp((x.numpy() @ w["from_item.weight"].T + w["from_item.bias"]) @ q.T / 0.7)
    np.testing.assert_allclose(layer(x).detach().numpy(), scores / scores.sum(1, keepdims=True), atol=1e-12)
    assert count(layer) == 4 * 3 + 5 * 3 + 3


def test_a_hard_item_takes_one_query_and_learns_as_a_soft_one() -> None:
    soft, hard, x = _queries(), _queries("hard"), rows(6, 5)
    shares, nearest = soft(x), hard(x)
    assert torch.equal(nearest.detach(), functional.one_hot(shares.argmax(1), 4).double())
    upstream = rows(6, 4, seed=3)
    for layer, found in ((soft, shares), (hard, nearest)):
        (found * upstream).sum().backward()
        assert layer.matrix.grad is not None
    assert soft.matrix.grad is not None
    assert soft.matrix.grad.abs().max() > 0
    torch.testing.assert_close(soft.matrix.grad, hard.matrix.grad)


def test_rows_of_the_matrix_start_with_length_one() -> None:
    torch.manual_seed(0)
    matrix = MetaQueries(2, 500, 64, "soft", 1.0).matrix
    assert float(matrix.detach().norm(dim=1).mean()) == pytest.approx(1.0, abs=0.02)


@pytest.mark.parametrize("lengths", [[3, 0, 5, 1], [2], [0, 0]])
def test_attention_equals_numpy(lengths: list[int]) -> None:
    layer = QueryAttention(3, 2).double()
    randomise(layer)
    queries, values = rows(4, 3), rows(sum(lengths), 2, seed=1)
    padded, _ = pad_values(values, torch.tensor(lengths), None)
    present = present_values(padded, torch.tensor(lengths))
    found = layer(queries, padded, present).detach().numpy()
    asked = queries.numpy() @ arrays(layer)["project.weight"].T
    start = 0
    for row, length in enumerate(lengths):
        keys = values.numpy()[start : start + length]
        shares = np.exp(asked @ keys.T / np.sqrt(2))
        shares = shares / (shares.sum(1, keepdims=True) + 1.0)  # a score of 0 for nothing
        np.testing.assert_allclose(found[row], shares @ keys, atol=1e-12)
        start += length
    filled = torch.where(present.unsqueeze(2), padded, 7.0)
    np.testing.assert_allclose(layer(queries, filled, present).detach().numpy(), found, atol=1e-12)


def test_gradients() -> None:
    layer, lengths = QueryAttention(3, 2).double(), torch.tensor([2, 0, 3])
    randomise(layer)
    padded, _ = pad_values(rows(5, 2, seed=1), lengths, 3)
    present = present_values(padded, lengths)
    names, weights = zip(*layer.named_parameters(), strict=True)

    def call(queries: Tensor, values: Tensor, *given: Tensor) -> Tensor:
        return functional_call(layer, dict(zip(names, given, strict=True)), (queries, values, present))

    leaves = [value.detach().clone().requires_grad_() for value in (rows(4, 3), padded, *weights)]
    assert torch.autograd.gradcheck(call, leaves)


@pytest.mark.parametrize(
    "options", [(0, 4, "soft", 1.0), (4, 0, "soft", 1.0), (4, 4, "nearest", 1.0), (4, 4, "soft", 0.0)]
)
def test_impossible_queries_are_refused(options: tuple[int, int, Assignment, float]) -> None:
    with pytest.raises(ConfigError):
        MetaQueries(5, *options)
