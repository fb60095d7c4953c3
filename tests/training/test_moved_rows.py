"""Rows of tables in bfloat16: moved without bias, the same everywhere and again, by every optimiser of tables."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from distill.features import EmbeddingTables, table_factory
from distill.ops.rows import give_gradient, sparse_rows
from distill.training.combined import CombinedOptimizer
from distill.training.moved_rows import begin_draws, move_rows
from distill.training.optim import OptimizerFactory
from distill.training.row_regularization import RowRegularization
from tests.batches import make_schema

STORED = torch.bfloat16
BUILD = table_factory(None, "bfloat16")
KINDS = ["rowwise_adagrad", "small", "sparse_adam", "regularised"]


def _table(rows: int = 4000, width: int = 6, value: float = 1.0, seed: int = 0) -> tuple[Tensor, dict[str, Any]]:
    torch.manual_seed(seed)
    param, state = torch.full((rows, width), value, dtype=STORED), dict[str, Any]()
    begin_draws(param, state, 0)
    return param, state


def _factory(kind: str) -> OptimizerFactory:
    embedding: Any = "sparse_adam" if kind == "sparse_adam" else "rowwise_adagrad"
    rows = RowRegularization(0.01, "all", 0.8) if kind == "regularised" else RowRegularization()
    return OptimizerFactory(0.01, 0.0, (0.9, 0.99), embedding, 0.02, 0.0, rows, 12 if kind == "small" else 0)


class _Model(nn.Module):
    def __init__(self, tables: Any = BUILD) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.tables: EmbeddingTables = tables(make_schema(), 4, 0.5)
        self.dense = nn.Linear(4, 1)


def _run(model: _Model, optimizer: CombinedOptimizer, steps: range) -> list[float]:
    """Fits rows to a target; returns the losses."""
    losses = []
    target = torch.linspace(-1, 1, 37).unsqueeze(1)
    for step in steps:
        optimizer.zero_grad()
        ids = torch.randint(0, 37, (16,), generator=torch.Generator().manual_seed(step))
        loss = (model.dense(model.tables.rows(4, ids)) - target[ids]).square().mean()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    return losses


def test_changes_below_half_of_the_last_place_move_the_expectation() -> None:
    """Rounded to the nearest, as `index_add_` does, the table would stay 1 for ever."""
    change, steps = -2e-4, 100  # the next numbers below and above 1 are 1 - 2^-8 and 1 + 2^-7
    param, state = _table()
    nearest = param.clone()
    rows = torch.arange(4000)
    for _ in range(steps):
        move_rows(param, rows, torch.full(param.shape, change), state)
        nearest.index_add_(0, rows, torch.full(param.shape, change, dtype=STORED))
    assert bool((nearest == 1).all())
    moved = param.double() - 1
    deviation = float(moved.std()) / moved.numel() ** 0.5
    assert abs(float(moved.mean()) - steps * change) < 4.5 * deviation
    assert deviation < 0.01 * steps * abs(change)


def test_draws_follow_from_the_seed_and_are_new_at_each_step() -> None:
    change = torch.full((4000, 6), 1e-3)

    def moved(seed: int, steps: int = 1) -> Tensor:
        param, state = _table(seed=seed)
        for _ in range(steps):
            before = param.clone()
            move_rows(param, torch.arange(4000), change, state)
        return (param != before) if steps > 1 else param != 1

    assert torch.equal(moved(0), moved(0))
    assert not torch.equal(moved(0), moved(1))
    both = (moved(0) & moved(0, 2)).double().mean()
    assert float(both) == pytest.approx(float(moved(0).double().mean()) ** 2, rel=0.2)


def test_rows_of_a_table_are_drawn_apart_from_those_of_another() -> None:
    starts = [state["draws"] for state in _states()]
    assert len({int(start) for start in starts}) == len(starts) == 2


def _states() -> list[dict[str, Any]]:
    optimizer = _factory("rowwise_adagrad").build(_Model()).optimizers["tables"]
    return list(optimizer.state.values())


@pytest.mark.parametrize("first", [0, 3])
def test_padding_stands_for_row_0_and_does_not_move_it(first: int) -> None:
    rows, change = torch.tensor([first, 7, 0, 0]), torch.tensor([0.4, 0.3, 0.0, 0.0]).unsqueeze(1).expand(4, 6)
    padded, state = _table()
    exact, other = _table()
    move_rows(padded, rows, change, state)
    move_rows(exact, rows[:2], change[:2], other)
    assert torch.equal(padded, exact)
    assert bool((padded[first] > 1.3).all())
    bad = torch.where(rows.unsqueeze(1) == 7, torch.nan, change)
    move_rows(padded, rows, bad, state)
    assert padded.isnan().all(1).nonzero().flatten().tolist() == [7]


def test_a_withheld_step_draws_nothing() -> None:
    param, state = _table(value=1.0625)
    before = int(state["draws"])
    move_rows(param, torch.arange(9), torch.zeros(9, 6), state, torch.ones(()))
    assert (int(state["draws"]), bool((param == 1.0625).all())) == (before, True)
    move_rows(param, torch.arange(9), torch.zeros(9, 6), state, torch.zeros(()))
    assert (int(state["draws"]) - before, bool((param == 1.0625).all())) == (1, True)


@pytest.mark.parametrize("kind", KINDS)
def test_a_small_fit_is_that_of_float32(kind: str) -> None:
    losses = []
    for build in (BUILD, EmbeddingTables):
        model = _Model(build)
        found = _run(model, _factory(kind).build(model), range(300))
        losses.append(sum(found[-50:]) / 50)
        assert losses[-1] < 0.6 * found[0]
    assert losses[0] == pytest.approx(losses[1], rel=0.05, abs=2e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_sums_and_moments_are_float32_and_a_run_goes_on_to_the_same_bits(kind: str) -> None:
    whole = _Model()
    optimizer = _factory(kind).build(whole)
    _run(whole, optimizer, range(8))
    half = _Model()
    first = _factory(kind).build(half)
    _run(half, first, range(4))
    state = copy.deepcopy(first.state_dict())
    again = _Model()
    again.load_state_dict(half.state_dict())
    torch.manual_seed(99)  # the draws go on, whatever the seed
    second = _factory(kind).build(again)
    second.load_state_dict(state)
    _run(again, second, range(4, 8))
    for width, weight in whole.tables.weights.items():
        assert weight.dtype is STORED
        assert torch.equal(again.tables.weights[width], weight)
    ends = [o.optimizers["tables"].state_dict()["state"] for o in (optimizer, second)]
    torch.testing.assert_close(ends[1], ends[0], rtol=0, atol=0)
    numbers = {n: v for state in ends[1].values() for n, v in state.items() if isinstance(v, Tensor) and n != "draws"}
    assert {value.dtype for value in numbers.values()} == {torch.float32}


def test_tables_take_half_of_the_bytes() -> None:
    sizes = [
        sum(value.nbytes for name, value in _Model(build).state_dict().items() if name.startswith("tables.weights"))
        for build in (BUILD, EmbeddingTables)
    ]
    assert sizes[0] * 2 == sizes[1]
    drawn = [model.tables.weights["4"].detach() for model in (_Model(), _Model(EmbeddingTables))]
    assert torch.equal(drawn[0], drawn[1].bfloat16())  # the same draws


def test_a_gradient_that_is_not_finite_is_seen_in_its_row_alone() -> None:
    param = nn.Parameter(torch.ones(5, 4, dtype=STORED))
    model = nn.Module()
    model.tables = BUILD(make_schema(), 4, 0.5)
    model.tables.weights["4"] = param
    optimizer = _factory("rowwise_adagrad").build(nn.ModuleList([model.tables, nn.Linear(1, 1)]))
    values = torch.tensor([[1.0] * 4, [torch.inf] * 4])
    give_gradient(param, sparse_rows(torch.tensor([1, 3]), values, param.shape, coalesced=True))
    optimizer.step()
    assert param.isfinite().all(1).tolist() == [True, True, True, False, True]


def test_tables_in_float32_have_no_state_of_rounding() -> None:
    optimizer = _factory("rowwise_adagrad").build(_Model(EmbeddingTables)).optimizers["tables"]
    assert {name for state in optimizer.state.values() for name in state} == {"sum"}
