"""A teacher that learns beside its student: what it says carries no gradient, and both can be loaded alone."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from distill.batch import Batch
from distill.features import ServingProjection, TableSharing
from distill.losses import CompositeLoss, LossInputs, TaskInfo
from distill.losses.setting import LossSetting
from distill.losses.terms import BernoulliKL, HardBCE, LogitMSE
from distill.models import InteractionRanker, TwoTower
from distill.training.cotraining import PREFIX, CotrainedTeacher, join, separate, teacher_state
from distill.training.optim import table_parameters
from tests.batches import make_batch, make_schema
from tests.models.building import small_dcn_v2, small_two_tower

SCHEMA = make_schema()
TASKS = [TaskInfo("click", 1.0), TaskInfo("like", 1.0)]


def _loss(**terms: nn.Module) -> CompositeLoss:
    loss = CompositeLoss(terms)  # type: ignore[arg-type]
    loss.setup(LossSetting(TASKS, has_signals=True))
    return loss


def _pair(*own: str) -> tuple[TwoTower, CotrainedTeacher]:
    torch.manual_seed(1)
    sharing = TableSharing()
    student = small_two_tower(SCHEMA.serving_view(), tables=sharing.lend)
    teacher = small_dcn_v2(SCHEMA, tables=sharing.borrow(own))
    return student, CotrainedTeacher(teacher, _loss(hard=HardBCE()), {})


@pytest.fixture
def batch() -> Batch:
    """Ten candidates, the first of each request labelled."""
    made = make_batch(SCHEMA, (3, 2, 5), seed=3)
    observed = torch.tensor([1, 0, 0, 1, 0, 1, 0, 0, 0, 0], dtype=torch.bool)
    return replace(made, observed=torch.stack([observed, observed], 1))


def _gradients(module: nn.Module) -> dict[str, Tensor]:
    found = {name: p.grad for name, p in module.named_parameters() if p.grad is not None}
    return {name: (g.to_dense() if g.is_sparse else g).clone() for name, g in found.items()}


def test_the_students_loss_sends_no_gradient_to_the_teacher(batch: Batch) -> None:
    torch.manual_seed(1)
    student = small_two_tower(SCHEMA.serving_view())
    teacher = CotrainedTeacher(small_dcn_v2(SCHEMA), _loss(hard=HardBCE()), {})
    everyone = torch.ones(10, dtype=torch.bool)
    teacher.learn(batch, lambda: everyone, 0)[1].total.backward()
    alone = _gradients(teacher)
    teacher.zero_grad()
    signals, report = teacher.learn(batch, lambda: everyone, 0)
    output = student(ServingProjection(SCHEMA)(batch))
    listening = _loss(soft=BernoulliKL(weight=1000.0), mse=LogitMSE(weight=1000.0))
    (report.total + listening(LossInputs(batch, output, signals, 0)).total).backward()
    together = _gradients(teacher)
    assert not signals.logits.requires_grad
    assert alone.keys() == together.keys()
    assert all(torch.equal(alone[name], together[name]) for name in alone)
    assert any(bool(g.abs().sum() > 0) for g in _gradients(student).values())


def test_only_rows_that_are_wanted_or_learnt_from_are_scored(batch: Batch) -> None:
    _, teacher = _pair()
    wanted = torch.zeros(10, dtype=torch.bool)
    signals, _ = teacher.learn(batch, lambda: wanted, 0)
    assert not signals.hidden
    assert signals.valid.nonzero().flatten().tolist() == [0, 3, 5]
    wanted[7] = True
    signals, report = teacher.learn(batch, lambda: wanted, 0, hidden=True)
    assert signals.valid.nonzero().flatten().tolist() == [0, 3, 5, 7]
    whole = teacher(batch)
    torch.testing.assert_close(signals.logits[signals.valid], whole.logits[signals.valid])
    torch.testing.assert_close(signals.hidden["body"][7], whole.hidden["body"][7])
    assert not signals.logits[~signals.valid].any()
    teacher.learner.zero_grad()
    report.total.backward()
    learnt = _gradients(teacher)
    teacher.zero_grad()
    teacher.learn(batch, lambda: torch.zeros(10, dtype=torch.bool), 0)[1].total.backward()
    assert all(torch.equal(learnt[name], g) for name, g in _gradients(teacher).items())


def test_a_loss_listens_where_its_terms_have_a_weight(batch: Batch) -> None:
    scored, quiet = BernoulliKL(rows="unexposed"), BernoulliKL(weight=0.0)
    staged = replace(batch, stage=torch.tensor([3, 2, 2, 3, 1, 3, 0, 0, 0, 0]))
    loss = _loss(hard=HardBCE(), soft=scored, later=quiet)
    assert loss.listens_to(staged, 0).nonzero().flatten().tolist() == [1, 2, 4, 6, 7, 8, 9]
    assert not _loss(hard=HardBCE(), later=quiet).listens_to(staged, 0).any()


@pytest.mark.parametrize("own", [(), ("user",), ("item", "hour")])
def test_each_can_be_loaded_alone_and_both_together_again(batch: Batch, own: tuple[str, ...]) -> None:
    student, teacher = _pair(*own)
    tables = table_parameters(nn.ModuleList([student, teacher]))
    assert len(tables) == len({id(p) for p in tables}) == 2  # one of each width, whoever uses it
    state = {f"model.{k}": v.clone() for k, v in student.state_dict().items()}
    state |= {f"{PREFIX}{k}": v.clone() for k, v in teacher.learner.state_dict().items()}
    apart = separate(state, student, teacher.learner)
    torch.manual_seed(9)
    alone: InteractionRanker = small_dcn_v2(SCHEMA)
    alone.load_state_dict({k.removeprefix("model."): v for k, v in teacher_state(apart).items()})
    torch.testing.assert_close(alone(batch).logits, teacher.learner(batch).logits)
    small = small_two_tower(SCHEMA.serving_view())
    small.load_state_dict({k.removeprefix("model."): v for k, v in apart.items() if k.startswith("model.")})
    seen = ServingProjection(SCHEMA)(batch)
    torch.testing.assert_close(small(seen).logits, student(seen).logits)
    again = join(apart, student, teacher.learner)
    assert again.keys() == state.keys()
    assert all(torch.equal(again[name], value) for name, value in state.items())


def test_it_follows_its_student_into_evaluation() -> None:
    _, teacher = _pair()
    assert teacher.training
    assert teacher.learner.training
    assert not teacher.eval().learner.training
    assert teacher.train().learner.training
