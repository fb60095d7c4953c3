"""On a GPU: steps that are not logged do not wait for it, transfers do neither, and numbers are those of the CPU."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import torch
from torch import nn

from distill.data.transfer import BatchTransfer
from distill.training.kept_steps import Greatest, KeptStep, KeptSteps
from distill.training.module import RankingModule
from tests.training.stepping import Stepper, batch_of
from tests.training.test_no_sync import CASES, RULES_IN_STEP, of_rule_in_step, says_so, serves

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU"),
]
CARD = torch.device("cuda", 0)
Make = Callable[[str], RankingModule]


@contextmanager
def no_waits() -> Iterator[None]:
    """Raises where the host would wait for the GPU."""
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


def on_card(module: RankingModule) -> Stepper:
    return Stepper(module.to(CARD))


@pytest.mark.parametrize(("make", "name"), CASES)
def test_a_step_does_not_wait(make: Make, name: str) -> None:
    module = make(name)
    if says_so(module):
        pytest.skip("its sizes depend on values")
    stepper, transfer = on_card(module), BatchTransfer()
    ready = [stepper.prepare(batch_of(serves(module), seed)) for seed in range(3)]
    stepper.step(transfer(ready[0], CARD))  # the first step of all allocates
    with no_waits():
        for batch in ready[1:]:
            stepper.step(transfer(batch, CARD))


@pytest.mark.parametrize(("name", "taught"), RULES_IN_STEP)
def test_sample_rules_of_a_step_do_not_wait(name: str, taught: bool) -> None:
    stepper, transfer = on_card(of_rule_in_step(name, taught)), BatchTransfer()
    ready = [stepper.prepare(batch_of(True, seed)) for seed in range(3)]
    stepper.step(transfer(ready[0], CARD))
    with no_waits():
        for batch in ready[1:]:
            stepper.step(transfer(batch, CARD))


@pytest.mark.parametrize(("make", "name"), [case for case in CASES if case[1] != "DE"])
def test_a_step_is_that_of_the_cpu(make: Make, name: str) -> None:
    found = []
    for device in (torch.device("cpu"), CARD):
        module = make(name)
        for dropout in (part for part in module.modules() if isinstance(part, nn.Dropout)):
            dropout.p = 0.0
        stepper, transfer = Stepper(module.to(device)), BatchTransfer()
        ready = [stepper.prepare(batch_of(serves(module), seed)) for seed in range(3)]
        found.append([stepper.step(transfer(batch, device)).cpu() for batch in ready])
    # Weights are not compared: the first steps of Adam turn a gradient of rounding errors into a whole step.
    torch.testing.assert_close(found[0], found[1], rtol=2e-3, atol=1e-4)


def test_a_batch_on_the_card_is_the_batch() -> None:
    batch = batch_of(True)
    transfer = BatchTransfer()
    transfer(batch, CARD)
    with no_waits():
        moved = transfer(batch, CARD)
    assert moved.weight.device == CARD
    for there, here in zip(moved.tensors(), batch.tensors(), strict=True):
        torch.testing.assert_close(there.cpu(), here, rtol=0, atol=0, equal_nan=True)


def test_finite_steps_are_kept_without_a_wait() -> None:
    stepper = on_card(CASES[0][0](CASES[0][1]))
    module, kept = stepper.module, KeptSteps()
    stepper.step(BatchTransfer()(stepper.prepare(batch_of(serves(module))), CARD))
    report = module.last_report
    assert report is not None
    with no_waits():
        for number, scale in enumerate((1.0, torch.inf, 1.0)):
            greatest = Greatest.of(report.total, {"weight": torch.ones(3, device=CARD) * scale})
            kept.raised(greatest.flag)
            kept.keep(KeptStep(number, report, None, None, None), greatest)
    found = kept.look()
    assert found is not None
    assert (found[0].number, found[1]) == (1, ["weight"])
