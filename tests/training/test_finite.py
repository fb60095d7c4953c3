"""Gradients of a step that are not finite are found, in whatever shape they come."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from distill.batch import Penalty, RankerOutput
from distill.losses import CompositeLoss, LossInputs, LossTerm, TaskInfo, TermSums
from distill.losses.blame import non_finite_gradients
from distill.losses.setting import LossSetting
from distill.losses.terms import HardBCE
from distill.training.finite import StepGradients, all_finite, non_finite
from tests.batches import make_batch, make_schema
from tests.models.building import small_dcn_v2

INF, NAN = float("inf"), float("nan")


@pytest.mark.parametrize("bad", [INF, -INF, NAN])
@pytest.mark.parametrize("place", [0, 500])
def test_one_bad_value_is_found(bad: float, place: int) -> None:
    tensors = [torch.ones(3), torch.randn(501), torch.zeros(0)]
    assert all_finite(tensors)
    tensors[1][place] = bad
    assert not all_finite(tensors)
    assert non_finite({"a": tensors[0], "b": tensors[1]}) == {"b": "1 of 501"}


def test_infinities_of_both_signs_and_sums_that_overflow() -> None:
    assert not all_finite([torch.tensor([INF]), torch.tensor([-INF])])
    assert all_finite([torch.tensor([3e38, 3e38]), torch.tensor([3e38])])
    assert all_finite([])


@pytest.mark.parametrize("where", ["dense", "table"])
def test_gradients_of_dense_parameters_and_of_touched_rows(where: str) -> None:
    model = small_dcn_v2(make_schema())
    batch = make_batch(make_schema())
    (model(batch).logits * torch.randn(8, 2)).sum().backward()
    gradients = StepGradients(model)
    assert not gradients.are_shared
    assert all_finite(list(gradients.values().values()))
    tables = [p for p in model.parameters() if p.grad is not None and p.grad.is_sparse]
    dense = [p for p in model.parameters() if p.grad is not None and not p.grad.is_sparse]
    assert tables
    chosen = dense[-1] if where == "dense" else tables[-1]
    assert chosen.grad is not None
    values = chosen.grad._values() if chosen.grad.is_sparse else chosen.grad
    values[(0,) * values.dim()] = NAN
    assert not all_finite(list(gradients.values().values()))
    found = non_finite(gradients.values())
    assert [dict(model.named_parameters())[name] is chosen for name in found] == [True]


class Broken(LossTerm):
    """Finite, with a gradient of NaN in one row."""

    def __init__(self, weight: float = 1.0) -> None:
        super().__init__(weight, "all", None)

    def forward(self, inputs: LossInputs) -> TermSums:
        values = self.student_logits(inputs)
        values = torch.cat([values[:1].mul(0).sqrt(), values[1:]])  # of one row: the others' gradients are finite
        return self.row_sums(values, self.selected(inputs).unsqueeze(1), inputs.batch.weight)


def _inputs(penalty: Tensor | None = None) -> tuple[LossInputs, nn.Parameter]:
    batch = make_batch(make_schema())
    parameter = nn.Parameter(torch.zeros(()))
    output = RankerOutput(torch.ones(8, 2) + parameter, {"body": torch.ones(8, 3)})
    penalties = {} if penalty is None else {"own": Penalty.of_no_rows(penalty * (parameter * 0).sqrt())}
    return LossInputs(batch, replace(output, penalties=penalties), None, 0), parameter


def test_the_term_whose_own_gradient_is_not_finite_is_named() -> None:
    loss = CompositeLoss({"hard": HardBCE(), "broken": Broken(), "asleep": Broken(weight=0.0)})
    loss.setup(LossSetting([TaskInfo("click", 1.0), TaskInfo("like", 1.0)], has_signals=False))
    inputs, parameter = _inputs()
    assert loss(inputs).total.isfinite()
    assert non_finite_gradients(loss, inputs, [parameter]) == ["broken"]
    sound = CompositeLoss({"hard": HardBCE()})
    sound.setup(LossSetting([TaskInfo("click", 1.0), TaskInfo("like", 1.0)], has_signals=False))
    assert non_finite_gradients(sound, inputs, [parameter]) == []
    inputs, parameter = _inputs(torch.tensor(1.0))
    assert non_finite_gradients(sound, inputs, [parameter]) == ["penalty_own"]
