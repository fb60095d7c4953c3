"""Runs that adapt a stale teacher: the model has no trace of it, they resume exactly, and the next day goes on."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from distill.jobs.parts import load_model
from distill.serving import Bundle
from distill.training.checkpoint_io import read_checkpoint
from distill.training.module import RankingModule
from tests.jobs.entry import path_arguments, run_dirs, run_script, tiny_arguments, train
from tests.jobs.test_mistakes import message_of

_ADAPTED = ["+adapter@loss.adapter=perceptron", "+weighting@loss.weighting=gradnorm"]


def _arguments(root: Path, *others: str) -> list[str]:
    return ["+experiment=quickstart", *tiny_arguments(root), *_ADAPTED, *others]


def _state(run: Path, name: str) -> dict[str, Tensor]:
    return dict(read_checkpoint(run / "checkpoints" / f"{name}.ckpt")["state_dict"])


def _of_adapter(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value for name, value in state.items() if name.startswith("loss.adapter.")}


@pytest.mark.slow
def test_a_run_goes_on_with_adapter_and_weights_and_serves_neither(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    training_step = RankingModule.training_step

    def stop(self: RankingModule, batch: Any, batch_idx: int) -> Any:
        if self.global_step == 3 and self.loss.adapter is not None:
            os.kill(os.getpid(), signal.SIGINT)
        return training_step(self, batch, batch_idx)

    train(*_arguments(tmp_path, "trainer.max_epochs=2", "name=whole"))
    with monkeypatch.context() as patch:
        patch.setattr(RankingModule, "training_step", stop)
        with pytest.raises(SystemExit):
            train(*_arguments(tmp_path, "trainer.max_epochs=2", "control.enabled=false", "name=cut"))
    train(*_arguments(tmp_path, "trainer.max_epochs=2", "control.enabled=false", "name=cut"), "resume=last")
    (whole,), (cut,) = run_dirs(tmp_path, "whole"), run_dirs(tmp_path, "cut")
    one, other = _state(whole, "last"), _state(cut, "last")
    assert one.keys() == other.keys()
    assert all(torch.equal(value, other[name]) for name, value in one.items())
    assert any(bool((value != 0).any()) for name, value in _of_adapter(one).items() if name.endswith("shift"))
    assert bool((one["loss.gradnorm.log_weights"] != 0).all())

    best = whole / "checkpoints" / "best.ckpt"
    names = [name for name, _ in load_model(best).model.named_parameters()]
    assert not [name for name in names if "adapter" in name or "gradnorm" in name]
    bundle = tmp_path / "bundle"
    run_script("scripts/export.py", f"path={best}", f"out={bundle}", *path_arguments(tmp_path))
    assert Bundle.load(bundle).manifest is not None
    assert b"adapter" not in b"".join(path.read_bytes() for path in bundle.rglob("*.json"))

    still = ["optimizer.lr=1e-12", "optimizer.embedding_lr=1e-12", "scheduler=constant", "control.enabled=false"]
    train(*_arguments(tmp_path, "name=next", f"model.init_from={whole}", *still))
    (after,) = run_dirs(tmp_path, "next")
    assert "the adapter of its teacher goes on from" in (after / "train.log").read_text()
    before = _of_adapter(_state(whole, "best"))
    torch.testing.assert_close(_of_adapter(_state(after, "best")), before, atol=1e-6, rtol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("signals", ["cached", "online"])
def test_it_adapts_scores_from_anywhere(tmp_path: Path, signals: str) -> None:
    train(*_arguments(tmp_path, "name=run", f"teacher.signals={signals}", "control.enabled=false"))
    (run,) = run_dirs(tmp_path, "run")
    assert all(value.isfinite().all() for value in _of_adapter(_state(run, "best")).values())


def test_an_adapter_that_nothing_listens_to_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    gone = ["~loss.terms.soft", "~loss.terms.list", "name=none"]
    assert "CompositeLoss.adapter" in message_of(capsys, "train.py", *_arguments(tmp_path, *gone))


def test_a_teacher_that_learns_in_the_step_is_not_stale(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    beside = ["+experiment=funnel/two_tower_from_dcn_v2-cotrained", "name=none", *_ADAPTED]
    tiny = [a for a in tiny_arguments(tmp_path) if not a.startswith("teacher.")]
    assert "CompositeLoss.adapter" in message_of(capsys, "train.py", *beside, *tiny)
