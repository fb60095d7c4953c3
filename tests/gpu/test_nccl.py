"""On a GPU: steps that exchange gradients over NCCL, in one process, recorded and not, and a run with DDP."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from distill.training.capture.padding import padded
from tests.gpu.test_capture import Run
from tests.gpu.test_step import CARD, Make, no_waits
from tests.jobs.entry import run_dirs, tiny_arguments
from tests.jobs.processes import run_python
from tests.jobs.run_state import history
from tests.training.capture.alone import exchanging, sharing_denominators
from tests.training.stepping import batch_of
from tests.training.test_no_sync import of_bfloat16, of_model, of_optimiser

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU"),
]
CASES = [(of_model, "two_tower"), (of_model, "dcn_v2"), (of_optimiser, "sparse_adam"), (of_bfloat16, "sparse_adam")]


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("make", "name"), CASES)
def test_recorded_steps_that_exchange_over_nccl(
    make: Make, name: str, precision: torch.dtype, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    eager = Run(make(name), precision=precision).eager()
    with exchanging(tmp_path, "nccl", CARD, monkeypatch) as ending:
        run = Run(sharing_denominators(make(name)), precision=precision)
        ending.callback(run.steps.forget)
        captured = run.captured()
        assert run.steps.num_recorded >= 2
        rtol, atol = (2e-3, 1e-4) if precision is torch.float32 else (1e-2, 1e-3)
        torch.testing.assert_close(captured, eager, rtol=rtol, atol=atol)


def test_no_step_that_exchanges_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with exchanging(tmp_path, "nccl", CARD, monkeypatch) as ending:
        run = Run(sharing_denominators(of_model("two_tower")))
        ending.callback(run.steps.forget)
        ready = [run.stepper.prepare(batch_of(True, 0)) for _ in range(9)]
        unpadded = [run.transfer(batch, CARD) for batch in ready[:4]]
        batches = [run.transfer(padded(batch), CARD) for batch in ready[4:]]
        run.stepper.step(unpadded[0])  # the first step of all allocates
        with no_waits():
            for batch in unpadded[1:]:
                run.stepper.step(batch)
        for step, batch in enumerate(batches[:2]):
            run.steps.take(batch, step)
        with no_waits():
            for step, batch in enumerate(batches[2:], start=2):
                run.steps.take(batch, step)
        assert run.steps.num_recorded == 1


def test_a_run_with_ddp_on_one_card_learns_what_one_without_learns(tmp_path: Path) -> None:
    tiny = [a for a in tiny_arguments(tmp_path) if not a.startswith("trainer=")]
    both = ["+experiment=quickstart", "control.enabled=false", "model.net.body.dropout=0", *tiny]
    for name, more in (("gpu", ["trainer=gpu"]), ("ddp", ["trainer=ddp", "trainer.devices=1", "trainer.capture=auto"])):
        cache = f"paths.cache={tmp_path / name}"
        done = run_python("train.py", *both, f"name={name}", *more, cache)
        assert done.status == 0, done.errors[-3000:]
        assert ("Training steps are captured." in done.errors + done.output) == (name == "ddp")
    one, other = (history(run_dirs(tmp_path, name)[0], "student")["train/loss"] for name in ("gpu", "ddp"))
    assert [value for _, value in other] == pytest.approx([value for _, value in one], rel=2e-2)
