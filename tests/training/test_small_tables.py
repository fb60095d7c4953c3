"""Adam on all rows of small tables, against torch's on a parameter of theirs."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from distill.errors import ConfigError
from distill.features import EmbeddingTables
from distill.ops.rows import sparse_rows
from distill.training.combined import CombinedOptimizer
from distill.training.optim import OptimizerFactory
from tests.batches import make_schema


class _Model(nn.Module):
    """Tables of 12, 20 and 5 rows at width 4, of 6 rows at width 3."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.tables = EmbeddingTables(make_schema(), 4, 0.5)
        self.dense = nn.Linear(2, 1)


def _factory(rows: int, embedding: Any = "rowwise_adagrad") -> OptimizerFactory:
    return OptimizerFactory(0.01, 0.0, (0.9, 0.99), embedding, 0.1, 0.0, embedding_dense_rows=rows)


def _touch(model: _Model, step: int) -> dict[str, Tensor]:
    """Gives every fused table a gradient of some rows; returns them dense."""
    draw = torch.Generator().manual_seed(step)
    dense = {}
    for width, weight in model.tables.weights.items():
        rows = torch.randperm(weight.shape[0], generator=draw)[:5].sort().values
        values = torch.randn(5, weight.shape[1], generator=draw)
        dense[width] = torch.zeros_like(weight).index_add_(0, rows, values).detach()
        # Behind the rows comes the padding of `sum_rows`.
        padded = (
            torch.cat([rows, torch.zeros(2, dtype=torch.long)]),
            torch.cat([values, values.new_zeros(2, weight.shape[1])]),
        )
        weight.grad = sparse_rows(*padded, weight.shape, coalesced=True)
    return dense


def _run(model: _Model, optimizer: CombinedOptimizer, steps: range) -> None:
    for step in steps:
        _touch(model, step)
        optimizer.step()


def test_small_tables_learn_by_adam_and_the_others_as_before() -> None:
    model, alone = _Model(), _Model()
    optimizer, adagrad = _factory(12).build(model), _factory(0).build(alone)
    small = {"4": [*range(12), *range(32, 37)], "3": [*range(6)]}
    copies = {width: nn.Parameter(alone.tables.weights[width].detach()[rows]) for width, rows in small.items()}
    adam = torch.optim.Adam(copies.values(), lr=0.01, betas=(0.9, 0.99))
    for step in range(6):
        dense = _touch(alone, step)
        for width, copied in copies.items():
            copied.grad = dense[width][small[width]]
        adam.step()
        adagrad.step()
        _run(model, optimizer, range(step, step + 1))
    for width, rows in small.items():
        found = model.tables.weights[width].detach()
        torch.testing.assert_close(found[rows], copies[width].detach())
    assert torch.equal(model.tables.weights["4"][12:32], alone.tables.weights["4"][12:32])


def test_a_run_goes_on_where_it_was() -> None:
    whole, half = _Model(), _Model()
    _run(whole, _factory(12).build(whole), range(6))
    first = _factory(12).build(half)
    _run(half, first, range(3))
    state = copy.deepcopy(first.state_dict())
    again = _Model()
    again.load_state_dict(half.state_dict())
    second = _factory(12).build(again)
    second.load_state_dict(state)
    _run(again, second, range(3, 6))
    for width, weight in whole.tables.weights.items():
        assert torch.equal(again.tables.weights[width], weight)


def test_a_withheld_step_changes_nothing() -> None:
    model = _Model()
    optimizer = _factory(12).build(model)
    _run(model, optimizer, range(2))
    before, state = (
        copy.deepcopy(model.state_dict()),
        copy.deepcopy(optimizer.optimizers["tables"].state_dict()["state"]),
    )
    optimizer.withhold(torch.ones(()))
    for weight in model.tables.weights.values():
        weight.grad = sparse_rows(torch.tensor([1]), torch.full((1, weight.shape[1]), torch.nan), weight.shape, True)
    optimizer.step()
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])
    torch.testing.assert_close(optimizer.optimizers["tables"].state_dict()["state"], state, rtol=0, atol=0)


def test_adam_of_all_tables_has_no_small_ones() -> None:
    with pytest.raises(ConfigError, match="embedding_dense_rows"):
        _factory(12, "sparse_adam")
