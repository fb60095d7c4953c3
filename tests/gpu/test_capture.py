"""On a GPU: recorded steps compute what steps compute, without a wait, and draw what they would have drawn."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from distill.batch import LossReport
from distill.data.transfer import BatchTransfer
from distill.training.capture import steps as capture_steps
from distill.training.capture.padding import padded
from distill.training.capture.recorder import GraphRecorder
from distill.training.capture.steps import StaticSteps
from distill.training.module import RankingModule
from tests.gpu.test_step import CARD, Make, no_waits
from tests.training.capture.test_steps import MIXED, NOT_DRAWN, SEEDS, STATIC, moving
from tests.training.stepping import Stepper, batch_of, state_of
from tests.training.test_no_sync import hold_noise, of_model, serves

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU"),
]


class Run:
    """A training on the card, by recorded steps or by others."""

    def __init__(self, module: RankingModule, drops: bool = False, precision: torch.dtype = torch.float32) -> None:
        for dropout in (part for part in module.modules() if isinstance(part, nn.Dropout)):
            dropout.p = dropout.p if drops else 0.0
        hold_noise(module)
        self.module, self.transfer = module.to(CARD), BatchTransfer()
        self.stepper = Stepper(self.module, precision)
        self.steps = StaticSteps(module, self.stepper.optimizer, GraphRecorder(CARD), None)
        self.losses: list[torch.Tensor] = []
        torch.manual_seed(0)

    def eager(self) -> list[torch.Tensor]:
        for seed in SEEDS:
            batch = self.stepper.prepare(batch_of(serves(self.module), seed))
            self.losses.append(self.stepper.step(self.transfer(batch, CARD)))
        return self.losses

    def captured(self) -> list[torch.Tensor]:
        for seed in SEEDS:
            batch = self.transfer(padded(self.stepper.prepare(batch_of(serves(self.module), seed))), CARD)
            with self.stepper.forward_context():
                self.losses.append(self.steps.take(batch, len(self.losses))[0].total)
            self.stepper.schedule.step()
        return self.losses


@pytest.mark.parametrize(("make", "name"), NOT_DRAWN)
def test_recorded_steps_are_those_without_a_recording(make: Make, name: str) -> None:
    eager, run = Run(make(name)).eager(), Run(make(name))
    captured = run.captured()
    assert run.steps.num_recorded >= 2
    torch.testing.assert_close(captured, eager, rtol=2e-3, atol=1e-4)


@pytest.mark.parametrize(("make", "name"), MIXED)
def test_recorded_steps_in_bfloat16_are_those_without_a_recording(make: Make, name: str) -> None:
    eager, run = Run(make(name), precision=torch.bfloat16).eager(), Run(make(name), precision=torch.bfloat16)
    captured = run.captured()
    assert run.steps.num_recorded >= 2
    torch.testing.assert_close(captured, eager, rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize(("make", "name"), STATIC)
def test_what_is_recorded_changes_next_to_nothing(make: Make, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Dropout and noise included: a recording draws from the same sequence."""
    captured = Run(make(name), drops=True)
    found = captured.captured()
    state = torch.cuda.get_rng_state(CARD)
    monkeypatch.setattr(capture_steps, "MOST_RECORDED", 0)
    run = Run(make(name), drops=True)
    torch.testing.assert_close(run.captured(), found, rtol=2e-3, atol=1e-4)
    assert torch.equal(torch.cuda.get_rng_state(CARD), state)
    assert captured.steps.num_recorded >= 2
    assert run.steps.num_recorded == 0


def test_learning_rates_and_schedules_move_on() -> None:
    eager, captured = Run(moving()), Run(moving())
    for run in (eager, captured):
        term = run.module.loss.named_terms()
        term["soft"].weight.schedule = term["list"].weight.schedule  # which is never 0
    captured.steps = StaticSteps(captured.module, captured.stepper.optimizer, GraphRecorder(CARD), None)
    for step in range(6):
        batch = batch_of(True, 0)
        progress = eager.module.trainer.fit_loop.epoch_loop.automatic_optimization.optim_progress
        progress.optimizer.step.total.completed = step
        wanted = eager.stepper.step(eager.transfer(eager.stepper.prepare(batch), CARD))
        ready = captured.transfer(padded(captured.stepper.prepare(batch)), CARD)
        found = captured.steps.take(ready, step)[0].total
        captured.stepper.schedule.step()
        torch.testing.assert_close(found, wanted, rtol=2e-3, atol=1e-4)
    assert captured.steps.num_recorded == 1


def test_a_replay_does_not_wait() -> None:
    run = Run(of_model("two_tower"))
    batches = [run.transfer(padded(run.stepper.prepare(batch_of(True, 0))), CARD) for _ in range(5)]
    for step, batch in enumerate(batches[:2]):
        run.steps.take(batch, step)
    with no_waits():
        for step, batch in enumerate(batches[2:], start=2):
            run.steps.take(batch, step)
    assert run.steps.num_recorded == 1
    assert all(bool(value.isfinite().all()) for value in state_of(run.module).values())


def test_a_step_that_waits_is_not_recorded_and_training_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run(of_model("dropout"), drops=True)
    monkeypatch.setattr(RankingModule, "report_of", _waiting(RankingModule.report_of))
    losses = run.captured()
    assert run.steps.num_recorded == 0
    assert len(losses) == len(SEEDS)
    assert bool(torch.stack(losses).isfinite().all())
    torch.rand(1, device=CARD)  # torch's generator draws as before


def _waiting(report_of: Callable[..., LossReport]) -> Callable[..., LossReport]:
    def run(*args: Any) -> LossReport:
        report = report_of(*args)
        report.total.item()
        return report

    return run
