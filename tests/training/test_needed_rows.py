"""Candidates that no loss term acts on are not scored, and nothing changes by it."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from distill.batch import Batch, Ragged, TeacherSignals
from distill.losses import CompositeLoss, LossInputs, LossTerm, TaskInfo
from distill.losses.setting import LossSetting
from distill.losses.terms import BernoulliKL, HardBCE, SoftmaxKL
from tests.batches import make_batch, make_schema
from tests.models.building import small_dcn_v2

TASKS = [TaskInfo("click", 1.0), TaskInfo("like", 0.5)]


@pytest.fixture
def batch() -> Batch:
    made = make_batch(make_schema(), (3, 2, 5), seed=3)
    observed = torch.tensor([1, 0, 0, 0, 0, 1, 1, 0, 1, 0], dtype=torch.bool)
    return replace(made, observed=torch.stack([observed, observed], 1))


def _signals(batch: Batch) -> TeacherSignals:
    valid = torch.tensor([1, 1, 0, 0, 0, 1, 1, 1, 0, 0], dtype=torch.bool)
    return TeacherSignals(torch.randn(batch.num_candidates, 2) * valid.unsqueeze(1), valid, {})


@pytest.mark.parametrize(
    ("terms", "needed"),
    [
        ({"hard": HardBCE()}, [0, 5, 6, 8]),
        ({"soft": BernoulliKL()}, [0, 1, 5, 6, 7]),
        ({"hard": HardBCE(), "list": SoftmaxKL()}, [0, 1, 5, 6, 7, 8]),
        ({"hard": HardBCE(), "soft": BernoulliKL(weight=0.0)}, [0, 5, 6, 8]),
    ],
)
def test_value_and_gradients_are_the_same_without_the_other_rows(
    batch: Batch, terms: dict[str, LossTerm], needed: list[int]
) -> None:
    torch.manual_seed(0)
    signals = _signals(batch)
    loss = CompositeLoss(terms)
    loss.setup(LossSetting(TASKS, has_signals=True))
    model = small_dcn_v2(make_schema())
    rows = loss.acts_on(batch, signals, 0).nonzero().flatten()
    assert rows.tolist() == needed
    results = []
    for part, word in ((batch, signals), (batch.select(rows), signals.select(rows))):
        model.zero_grad()
        report = loss(LossInputs(part, model(part), word, 0))
        report.total.backward()
        grads = [p.grad.to_dense() if p.grad.is_sparse else p.grad for p in model.parameters() if p.grad is not None]
        results.append((report.total.detach(), grads))
    torch.testing.assert_close(results[0][0], results[1][0])
    for whole, selected in zip(results[0][1], results[1][1], strict=True):
        torch.testing.assert_close(whole, selected)


def test_no_row_is_needed(batch: Batch) -> None:
    empty = batch.select(torch.empty(0, dtype=torch.long))
    assert empty.num_candidates == 0
    assert empty.num_requests == 3
    loss = CompositeLoss({"hard": HardBCE()})
    loss.setup(LossSetting(TASKS, has_signals=False))
    model = small_dcn_v2(make_schema())
    report = loss(LossInputs(empty, model(empty), None, 0))
    report.total.backward()
    assert float(report.total.detach()) == 0.0


def test_ragged_rows_are_picked_whole() -> None:
    ragged = Ragged(torch.arange(7), torch.tensor([2, 0, 4, 1]))
    picked = ragged.select(torch.tensor([2, 1, 0]))
    assert picked.values.tolist() == [2, 3, 4, 5, 0, 1]
    assert picked.lengths.tolist() == [4, 0, 2]
