"""Teachers of logs that kept other shares of the negatives than the student's."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from distill.batch import RankerOutput, TeacherSignals
from distill.jobs.teacher import logged_signals
from distill.losses.setting import LossSetting
from distill.losses.terms import BernoulliKL, LossInputs, TaskInfo
from distill.models.score import RankingScore, predictions
from distill.schema import Schema, parse_schema
from distill.signals import CheckpointSignals, ColumnSignals, ProjectedSignals
from tests.batches import make_batch, make_schema

LOGITS = torch.tensor([[0.0, 1.0], [2.0, -1.0], [0.0, 0.0], [-3.0, 0.5]])


class _Says(nn.Module):
    def forward(self, batch) -> RankerOutput:
        return RankerOutput(LOGITS, {})


def batch_with(logits: torch.Tensor):
    valid = torch.tensor([True, True, False, True])
    batch = make_batch(make_schema(), (3, 1))
    return replace(batch, signals=TeacherSignals(logits.masked_fill(~valid.unsqueeze(1), 0.0), valid, {}))


def schema_of(rates: dict[str, float] | None, **teacher: object) -> Schema:
    declared = {"columns": {"click": "a", "like": "b"}, "kind": "probability", **teacher}
    data = {**make_schema().model_dump(mode="json"), "teacher": declared, "negative_sampling": rates}
    return parse_schema(data, "test")


def test_numbers_worked_out_by_hand() -> None:
    """A teacher of 1/2 of the negatives, a student of 1/8: the same has 4 times the odds for the student."""
    teacher, student = (math.log(1 / 2), 0.0), (math.log(1 / 8), math.log(1 / 5))
    found = ProjectedSignals.of(CheckpointSignals(_Says()), teacher, student)(make_batch(make_schema(), (3, 1)))
    assert found.logits[:, 0].exp().tolist() == pytest.approx([4.0, 4 * math.exp(2), 4.0, 4 * math.exp(-3)])
    assert found.logits[:, 1].exp().tolist() == pytest.approx([5 * math.e, 5 / math.e, 5.0, 5 * math.exp(0.5)])


def test_rows_without_a_score_and_tasks_without_one_stay() -> None:
    logits = LOGITS.clone()
    logits[:, 1] = torch.nan
    batch = batch_with(logits)
    found = ProjectedSignals.of(ColumnSignals(("click",)), (0.0, 0.0), (math.log(0.5), math.log(0.5)))
    signals = found(batch)
    assert signals.logits[:, 0].tolist() == pytest.approx([math.log(2), 2 + math.log(2), 0.0, -3 + math.log(2)])
    assert signals.logits[[0, 1, 3], 1].isnan().all()
    assert found.tasks == ("click",)
    assert batch.signals.logits[0, 0] == 0.0


def test_the_same_rates_leave_a_source_as_it_is() -> None:
    source = ColumnSignals()
    assert ProjectedSignals.of(source, (-1.0, 0.0), (-1.0, 0.0)) is source


def test_a_student_that_agrees_about_the_world_has_no_loss() -> None:
    """Both say the same probabilities of the world; as they are, their logits differ by log(0.5 / 0.1)."""
    schema, teacher = schema_of({"click": 0.1}), schema_of({"click": 0.5})
    world = predictions(teacher, LOGITS)
    student = LOGITS + torch.tensor([math.log(0.5 / 0.1), 0.0])
    torch.testing.assert_close(predictions(schema, student), world)
    batch = make_batch(schema, (3, 1))
    signals = ProjectedSignals.of(CheckpointSignals(_Says()), teacher.log_rates, schema.log_rates)(batch)
    term = BernoulliKL()
    term.setup(LossSetting([TaskInfo("click", 1.0), TaskInfo("like", 1.0)], True))

    def loss(given: TeacherSignals) -> float:
        return float(term(LossInputs(batch, RankerOutput(student, {}), given, 0)).mean())

    assert loss(signals) == pytest.approx(0.0, abs=1e-9)
    assert loss(CheckpointSignals(_Says())(batch)) > 0.05
    own, of_teacher = RankingScore(schema), RankingScore(teacher)
    torch.testing.assert_close(own(signals.logits, {}), of_teacher(LOGITS, {}))


@pytest.mark.parametrize(
    ("rates", "teacher", "shift"),
    [
        (None, {}, 0.0),
        ({"click": 0.1}, {}, math.log(10)),
        ({"click": 0.1}, {"negative_sampling": {"click": 0.1}}, 0.0),
        ({"click": 0.1}, {"negative_sampling": {"click": 0.5}}, math.log(5)),
        (None, {"negative_sampling": {"click": 0.5}}, math.log(0.5)),
        ({"click": 0.1}, {"kind": "position"}, 0.0),
    ],
)
def test_a_logged_teacher_means_the_world_unless_the_schema_says_of_which_log_it_is(rates, teacher, shift) -> None:
    found = logged_signals(schema_of(rates, **teacher))(batch_with(LOGITS)).logits
    assert (found - LOGITS)[[0, 1, 3], 0].tolist() == pytest.approx([shift] * 3, abs=1e-6)
    assert torch.equal(found[:2, 1], LOGITS[:2, 1])
