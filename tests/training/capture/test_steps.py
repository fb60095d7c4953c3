"""Recorded steps compute what steps compute, whatever is recorded when."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from distill.batch import Batch, LossReport
from distill.errors import ConfigError
from distill.losses import LossInputs, schedule, terms
from distill.losses.terms.base import TermSums
from distill.training.callbacks import StopOnNonFinite
from distill.training.capture import steps as capture_steps
from distill.training.capture.padding import padded
from distill.training.capture.steps import StaticSteps
from distill.training.kept_steps import Greatest
from distill.training.module import RankingModule
from tests.marks import some_fast
from tests.training.capture.tape import TapeRecorder
from tests.training.stepping import Stepper, batch_of, module_of, state_of
from tests.training.test_no_sync import CASES, WAITING, hold_noise, of_bfloat16, of_model, of_term, serves

Make = Callable[[str], RankingModule]
SEEDS = (0, 1, 0, 0, 2, 1, 0, 1)  # of a shape the first batch is trained on, the second recorded, others replayed
STATIC = [case for case in CASES if case[1] not in WAITING]
NOT_DRAWN = [case for case in STATIC if case[1] != "DE"]  # its noise is drawn for as many rows as there are


class Run:
    """A training by recorded steps, or by others."""

    def __init__(self, module: RankingModule, drops: bool = False, precision: torch.dtype = torch.float32) -> None:
        for dropout in (part for part in module.modules() if isinstance(part, nn.Dropout)):
            dropout.p = dropout.p if drops else 0.0  # what is drawn depends on the number of rows
        hold_noise(module)
        self.module, self.stepper = module, Stepper(module, precision)
        self.recorder = TapeRecorder()
        self.steps = StaticSteps(module, self.stepper.optimizer, self.recorder, None)
        self.reports: list[LossReport] = []
        torch.manual_seed(0)

    def eager(self, seeds: Sequence[int] = SEEDS) -> tuple[list[Tensor], dict[str, Tensor]]:
        """Steps as without a recording."""
        for seed in seeds:
            self.stepper.step(self._batch(seed))
            assert self.module.last_report is not None
            self.reports.append(self.module.last_report)
        return [report.total for report in self.reports], state_of(self.module)

    def captured(self, seeds: Sequence[int] = SEEDS) -> tuple[list[Tensor], dict[str, Tensor]]:
        """Steps that are recorded."""
        for seed in seeds:
            batch = padded(self._batch(seed))
            with self.stepper.forward_context():
                self.reports.append(self.steps.take(batch, len(self.reports))[0])
            self.stepper.schedule.step()
        return [report.total for report in self.reports], state_of(self.module)

    def _batch(self, seed: int) -> Batch:
        """A batch, made ready for the step to come."""
        progress = self.module.trainer.fit_loop.epoch_loop.automatic_optimization.optim_progress
        progress.optimizer.step.total.completed = len(self.reports)
        return self.stepper.prepare(batch_of(serves(self.module), seed))


@pytest.mark.parametrize(("make", "name"), some_fast(NOT_DRAWN, 9))
def test_recorded_steps_are_those_without_a_recording(make: Make, name: str) -> None:
    eager, run = Run(make(name)).eager(), Run(make(name))
    captured = run.captured()
    assert run.recorder.recorded >= 2
    assert run.recorder.replays >= 4
    assert run.recorder.found == []
    torch.testing.assert_close(captured[0], eager[0], rtol=1e-5, atol=1e-6)
    # The first steps of Adam turn rounding errors of a gradient that is almost 0 into a part of a step (0.01 here).
    torch.testing.assert_close(captured[1], eager[1], rtol=1e-4, atol=2e-3)


@pytest.mark.parametrize(("make", "name"), some_fast(STATIC, 9))
def test_what_is_recorded_changes_no_bit(make: Make, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    captured = Run(make(name), drops=True).captured()
    monkeypatch.setattr(capture_steps, "MOST_RECORDED", 0)
    run = Run(make(name), drops=True)
    torch.testing.assert_close(run.captured(), captured, rtol=0, atol=0)
    assert run.recorder.recorded == 0


# What has a matrix product in its loss, which is computed in float32, and tables in bfloat16 as well.
MIXED: list[tuple[Make, str]] = [
    *((of_model, name) for name in ("two_tower", "transformer", "dcn_v2", "int_tower")),
    *((of_term, name) for name in ("Hint", "SoftmaxKL")),
    (of_bfloat16, "rowwise_adagrad"),
]


@pytest.mark.parametrize(("make", "name"), some_fast(MIXED, 3))
def test_recorded_steps_in_bfloat16_are_those_without_a_recording(make: Make, name: str) -> None:
    mixed = torch.bfloat16
    eager, run = Run(make(name), precision=mixed).eager(), Run(make(name), precision=mixed)
    captured, exact = run.captured(), Run(make(name)).eager()
    assert run.recorder.recorded >= 2
    assert run.recorder.found == []
    assert not torch.equal(torch.stack(eager[0]), torch.stack(exact[0]))
    torch.testing.assert_close(captured[0], eager[0], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(captured[1], eager[1], rtol=1e-3, atol=2e-3)


def test_only_the_forward_pass_is_under_autocast(monkeypatch: pytest.MonkeyPatch) -> None:
    run, found = Run(of_term("Hint"), precision=torch.bfloat16), []

    def note(owner: Any, name: str) -> None:
        before = getattr(owner, name)

        def noted(*args: Any, **kwargs: Any) -> Any:
            found.append((name, torch.is_autocast_enabled("cpu"), torch.is_autocast_cache_enabled()))
            return before(*args, **kwargs)

        monkeypatch.setattr(owner, name, noted)

    note(run.module.model, "forward")
    note(torch.autograd, "backward")
    note(run.steps._optimizer, "step")
    with torch.autocast("cpu", torch.bfloat16):
        run.steps.take(padded(run._batch(0)), 0)
    assert [(name, enabled) for name, enabled, _ in found] == [("forward", True), ("backward", False), ("step", False)]
    assert not found[0][2], "a weight that was cast in another step would be none of the recording's"


def moving() -> RankingModule:
    """A module with all that moves: weights that begin at 0, temperatures, and the learning rate."""
    soft = terms.BernoulliKL(weight=schedule.Warmup(1.0, 2), temperature=schedule.Linear(4.0, 1.0, 6))
    listed = terms.SoftmaxKL(weight=schedule.Linear(0.1, 1.0, 7), temperature=schedule.Cosine(3.0, 1.0, 5))
    module = module_of("two_tower", {"hard": terms.HardBCE(), "soft": soft, "list": listed}, embedding="sparse_adam")
    module._schedule = type(module._schedule)("cosine", 3, 0.1)
    return module


def test_learning_rates_and_schedules_move_on() -> None:
    eager, run = Run(moving()), Run(moving())
    seeds = (0, 0, 0, 0, 0, 0, 0, 0)
    wanted, found = eager.eager(seeds), run.captured(seeds)
    assert run.recorder.recorded == 2  # with and without the term whose weight begins at 0
    assert run.recorder.replays == 6
    torch.testing.assert_close(found[0], wanted[0], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(found[1], wanted[1], rtol=1e-4, atol=1e-3)
    for one, other in zip(run.reports, eager.reports, strict=True):
        assert {name: float(weight) for name, weight in one.weights.items()} == pytest.approx(
            {name: float(weight) for name, weight in other.weights.items()}
        )
        torch.testing.assert_close(dict(one.parts), dict(other.parts), rtol=1e-4, atol=1e-6)
    for run_ in (run, eager):
        states = run_.stepper.optimizer.optimizers["tables"].state.values()
        assert {state["step"] for state in states} == {8}


def test_forgotten_steps_are_recorded_again() -> None:
    run, whole = Run(of_term("HardBCE")), Run(of_term("HardBCE"))
    run.captured((0, 0, 0))
    run.steps.forget()
    assert run.steps.num_recorded == 0
    found = run.captured((0, 0, 0))
    assert run.recorder.recorded == 2
    torch.testing.assert_close(found, whole.captured((0, 0, 0, 0, 0, 0)), rtol=0, atol=0)


def test_optimisers_are_left_as_they_were() -> None:
    run = Run(moving())
    groups = [dict(group) for group in run.stepper.optimizer.param_groups]
    run.captured((0, 0, 0))
    for before, after in zip(groups, run.stepper.optimizer.param_groups, strict=True):
        assert {key: type(value) for key, value in before.items()} == {k: type(v) for k, v in after.items()}
        assert after["capturable"] is False if "capturable" in after else True
    assert all(p.on_device is None for t in run.module.loss.named_terms().values() for p in t.schedules.values())


def test_a_report_is_kept_for_good() -> None:
    run = Run(of_term("SoftmaxKL"))
    run.captured((0, 0))
    before = [float(report.total) for report in run.reports], [float(r.parts["other"]) for r in run.reports]
    run.captured((0, 0))
    assert before[0] == [float(report.total) for report in run.reports[:2]]
    assert before[1] == [float(report.parts["other"]) for report in run.reports[:2]]
    assert len({float(report.total) for report in run.reports}) == 4


def test_no_more_shapes_are_recorded_than_there_is_room_for(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(capture_steps, "MOST_RECORDED", 1)
    run = Run(of_term("HardBCE"))
    with caplog.at_level(logging.INFO):
        found = run.captured()
    assert run.steps.num_recorded == run.recorder.recorded == 1
    assert [record.message for record in caplog.records if "captured" in record.message] == [
        "1 shapes of batches are captured, steps on others are not."
    ]
    torch.testing.assert_close(found, Run(of_term("HardBCE")).captured(), rtol=0, atol=0)


class Looks(terms.HardBCE):
    """A term of somebody's own, that asks the device for a number and does not say so."""

    def forward(self, inputs: LossInputs) -> TermSums:
        if not float(inputs.batch.weight.sum()) > 0:
            raise ConfigError("There is no row.")
        return super().forward(inputs)


def test_what_cannot_be_recorded_says_so_once_and_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    run = Run(module_of("two_tower", {"hard": Looks()}))
    with caplog.at_level(logging.WARNING):
        found = run.captured()
    said = [record.message for record in caplog.records if "captured" in record.message]
    assert said == ["Steps on further shapes of batches are not captured: _local_scalar_dense"]
    assert run.steps.num_recorded == 0
    assert run.recorder.watched[0]
    assert not run.recorder.watched[-1]
    wanted = Run(module_of("two_tower", {"hard": terms.HardBCE()})).captured()
    assert [float(loss) for loss in found[0]] == [float(loss) for loss in wanted[0]]


def test_gradients_are_looked_over_in_the_step(tmp_path: object) -> None:
    run = Run(of_term("SoftmaxKL"))
    watch = StopOnNonFinite(str(tmp_path), "student", 5)
    run.steps = StaticSteps(run.module, run.stepper.optimizer, run.recorder, watch)
    batch = padded(run.stepper.prepare(batch_of(True, 0)))
    found: list[Greatest] = []
    states = []
    for step in range(6):
        numbers = batch.candidate.numbers
        numbers[0, 0] = torch.inf if step == 4 else 0.5
        _, greatest = run.steps.take(batch, step)
        assert greatest is not None
        found.append(greatest)
        states.append(state_of(run.module))
    assert [float(greatest.flag) for greatest in found] == [0, 0, 0, 0, 1, 0]
    assert found[4].not_finite() != []
    assert found[3].not_finite() == found[5].not_finite() == []
    assert not torch.equal(states[2]["model.similarity.bias"], states[3]["model.similarity.bias"])
    for name, value in states[3].items():
        assert torch.equal(value, states[5][name]), name  # from the step on, nothing changes
