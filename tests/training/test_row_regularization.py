"""L2 and max-norm of the rows of embedding tables, against numbers computed by hand."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from distill.errors import ConfigError
from distill.ops.rows import sparse_rows
from distill.training.optim import OptimizerFactory
from distill.training.row_regularization import RowRegularization
from distill.training.rowwise_adagrad import RowwiseAdagrad
from distill.training.sparse_adam import TouchedRowsAdam
from distill.training.touched_rows import TouchedRows


class _Descent(TouchedRows):
    """Plain gradient descent, of which it is known what L2 is."""

    def __init__(self, params: list[Tensor]) -> None:
        super().__init__(params, {"lr": 0.1})

    def update(self, param: Tensor, group: dict[str, Any], rate: float | Tensor) -> None:
        assert param.grad is not None
        param.index_add_(0, param.grad._indices()[0], -rate * param.grad._values())


def _touch(weight: Tensor, gradient: dict[int, list[float]]) -> None:
    values = torch.tensor(list(gradient.values())).to(weight)
    weight.grad = sparse_rows(torch.tensor(list(gradient)), values, weight.shape)


def _weight() -> nn.Parameter:
    return nn.Parameter(torch.arange(1.0, 9.0, dtype=torch.float64).view(4, 2))


def test_l2_is_the_gradient_of_the_squared_norm_of_touched_rows() -> None:
    weight = _weight()
    optimizer = _Descent([weight]).regularized(RowRegularization(0.5))
    before = weight.detach().clone().requires_grad_()
    (0.25 * before[[0, 2]].square().sum() + (before[[0, 2]] * torch.tensor([[3.0, 1.0], [1.0, 0.5]])).sum()).backward()
    assert before.grad is not None
    touches = torch.tensor([[1.0, 1.0], [1.0, 0.5], [2.0, 0.0]], dtype=torch.float64)
    weight.grad = sparse_rows(torch.tensor([0, 2, 0]), touches, weight.shape)  # row 0 is looked up twice
    optimizer.step()
    torch.testing.assert_close(weight.detach(), before.detach() - 0.1 * before.grad)


def test_l2_of_all_steps_is_made_up_for_when_a_row_is_touched() -> None:
    weight, decay, rate = _weight(), 0.5, 0.1
    optimizer = _Descent([weight]).regularized(RowRegularization(decay, "all"))
    expected = weight.detach().clone()
    for step, rows in enumerate(([0], [1], [0, 1], [3], [0]), 1):
        _touch(weight, {row: [1.0, 2.0] for row in rows})
        optimizer.step()
        since = {(1, 0): 1, (2, 1): 2, (3, 0): 2, (3, 1): 1, (4, 3): 4, (5, 0): 2}
        for row in rows:
            expected[row] -= rate * (torch.tensor([1.0, 2.0]) + decay * since[step, row] * expected[row])
        torch.testing.assert_close(weight.detach(), expected)


def test_rows_shrink_alike_however_often_they_are_touched() -> None:
    """With `all`, to first order in rate · λ; with `touched` in proportion to the touches."""
    shrunk = {}
    for steps in ("touched", "all"):
        weight = nn.Parameter(torch.ones(3, 2, dtype=torch.float64))
        optimizer = _Descent([weight]).regularized(RowRegularization(1e-4, steps))  # type: ignore[arg-type]
        for step in range(1, 101):
            _touch(weight, {row: [1e-12] * 2 for row, every in enumerate((1, 10, 50)) if step % every == 0})
            optimizer.step()
        shrunk[steps] = (1 - weight.detach()[:, 0]).tolist()
    assert shrunk["touched"] == pytest.approx([1e-3, 1e-4, 2e-5], rel=1e-3)
    assert shrunk["all"] == pytest.approx([1e-3, 1e-3, 1e-3], rel=1e-3)


def test_a_touched_row_is_no_longer_than_the_greatest_norm() -> None:
    weight = nn.Parameter(torch.tensor([[3.0, 4.0], [3.0, 4.0], [0.3, 0.4]]))
    optimizer = _Descent([weight]).regularized(RowRegularization(embedding_max_norm=2.0))
    _touch(weight, {1: [1e-9, 0.0], 2: [1e-9, 0.0]})
    optimizer.step()
    torch.testing.assert_close(weight.detach(), torch.tensor([[3.0, 4.0], [1.2, 1.6], [0.3, 0.4]]))


@pytest.mark.parametrize("kind", [RowwiseAdagrad, TouchedRowsAdam])
def test_rows_that_do_not_learn_and_withheld_steps_stay(kind: type[TouchedRows]) -> None:
    weight = nn.Parameter(torch.full((3, 2), 5.0))
    rows = RowRegularization(0.5, "all", embedding_max_norm=1.0)
    optimizer = kind([weight], lr=0.1).regularized(rows)  # type: ignore[call-arg]
    # As `sum_rows` leaves it where the host may not look: row 0 stands for padding, which is not a touch.
    weight.grad = sparse_rows(torch.tensor([1, 2, 0]), torch.tensor([[1.0, 0.0], [0.0, 0.0], [0.0, 0.0]]), (3, 2), True)
    optimizer.step()
    assert torch.equal(weight[[0, 2]], torch.full((2, 2), 5.0))
    assert float(weight.detach()[1].norm()) == pytest.approx(1.0)
    state, before = copy.deepcopy(optimizer.state_dict()), weight.detach().clone()
    optimizer.found_inf = torch.ones(())
    _touch(weight, {0: [torch.nan, 1.0], 1: [1.0, 1.0]})
    optimizer.step()
    assert torch.equal(weight, before)
    for name in ("touched_at", "steps"):
        assert torch.equal(optimizer.state_dict()["state"][0][name], state["state"][0][name]), name


@pytest.mark.parametrize("embedding", ["rowwise_adagrad", "sparse_adam"])
def test_the_steps_since_a_row_was_touched_go_on_after_a_resume(embedding: Any) -> None:
    rows = RowRegularization(0.01, "all")
    factory = OptimizerFactory(0.1, 0.0, (0.9, 0.999), embedding, 0.1, 0.0, rows)

    def run(steps: range, weight: nn.Parameter, state: Any) -> tuple[Tensor, Any]:
        optimizer: Optimizer = (RowwiseAdagrad if embedding == "rowwise_adagrad" else TouchedRowsAdam)(
            [weight], lr=factory.embedding_lr
        ).regularized(factory.rows)
        if state is not None:
            optimizer.load_state_dict(state)
        for step in steps:
            _touch(weight, {step % 3: [0.1, 0.3], 3: [0.2, -0.1]})
            optimizer.step()
        return weight.detach(), copy.deepcopy(optimizer.state_dict())

    whole, _ = run(range(7), nn.Parameter(torch.ones(4, 2)), None)
    half, state = run(range(4), nn.Parameter(torch.ones(4, 2)), None)
    again, _ = run(range(4, 7), nn.Parameter(half.clone()), state)
    assert torch.equal(again, whole)


@pytest.mark.parametrize(
    "change", [{"embedding_l2": -1.0}, {"embedding_l2_steps": "some"}, {"embedding_max_norm": 0.0}]
)
def test_values_out_of_range_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=f"optimizer.{next(iter(change))}"):
        RowRegularization(**change)
