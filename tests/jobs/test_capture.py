"""Runs whose steps are captured: a CPU says why they are not, and with a recorder they are the runs that they were."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch

from distill.jobs.identity import differences
from distill.training.capture import module as captured
from distill.training.capture.module import CapturedModule
from tests.jobs.entry import run_dirs, tiny_arguments, train
from tests.jobs.run_state import checkpoint_state, difference, history, summary_state
from tests.training.capture.tape import TapeRecorder

_DISTILLED = ["+experiment=quickstart", "control.enabled=false", "trainer.max_epochs=2", "scheduler=cosine"]


def _arguments(root: Path, name: str, *more: str) -> list[str]:
    tiny = [a for a in tiny_arguments(root) if not a.startswith(("trainer.max_epochs", "data."))]
    return [*_DISTILLED, *tiny, f"name={name}", *more]


def _recorders(monkeypatch: pytest.MonkeyPatch) -> list[TapeRecorder]:
    """Has steps on a CPU recorded; returns the recorders of the fits, as they come."""
    made: list[TapeRecorder] = []

    def recorder(device: torch.device) -> TapeRecorder:
        made.append(TapeRecorder())
        return made[-1]

    monkeypatch.setattr(captured, "recorder_of", recorder)
    return made


def test_a_run_may_go_on_with_or_without() -> None:
    assert differences({"trainer": {"capture": "auto"}}, {"trainer": {"capture": "off"}}) == {}
    assert differences({"trainer": {}}, {"trainer": {"capture": "off"}}) == {}


@pytest.mark.slow
def test_another_word_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        train(*_arguments(tmp_path, "wrong", "trainer.capture=always"))
    message = " ".join(capsys.readouterr().err.split())
    assert "trainer.capture" in message
    assert "auto" in message


@pytest.mark.slow
def test_on_a_cpu_it_says_why_not_and_changes_no_bit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    few = "trainer.limit_train_batches=3"
    train(*_arguments(tmp_path, "off", few))
    assert "captured" not in capsys.readouterr().err
    train(*_arguments(tmp_path, "auto", few, "trainer.capture=auto"))
    said = capsys.readouterr().err
    assert said.count("Training steps are not captured: the model is on no GPU.") == 1  # the teacher is there already
    states = [checkpoint_state(run_dirs(tmp_path, name)[0]) for name in ("off", "auto")]
    assert difference(*states) is None


@pytest.mark.slow
def test_a_captured_run_goes_on_as_if_nothing_had_happened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        recorders = _recorders(patch)
        train(*_arguments(tmp_path, "whole", "trainer.capture=auto"))
        assert len(recorders) == 2  # teacher and student
        assert all(recorder.replays > 0 and recorder.found == [] for recorder in recorders)
    _recorders(monkeypatch)
    training_step = CapturedModule.training_step

    def stop(self: CapturedModule, batch: Any, batch_idx: int) -> Any:
        if self.global_step == 6:
            os.kill(os.getpid(), signal.SIGINT)
        return training_step(self, batch, batch_idx)

    with monkeypatch.context() as patch:
        patch.setattr(CapturedModule, "training_step", stop)
        with pytest.raises(SystemExit):
            train(*_arguments(tmp_path, "stopped", "trainer.capture=auto"))
    train(*_arguments(tmp_path, "stopped", "trainer.capture=auto"), "resume=last")
    (whole,), (stopped,) = run_dirs(tmp_path, "whole"), run_dirs(tmp_path, "stopped")
    assert difference(checkpoint_state(whole), checkpoint_state(stopped)) is None
    assert difference(history(whole, "student"), history(stopped, "student")) is None
    assert difference(summary_state(whole), summary_state(stopped)) is None


@pytest.mark.slow
def test_a_captured_run_learns_what_one_without_learns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without_dropout = "model.net.body.dropout=0"  # whose draws depend on the number of rows
    train(*_arguments(tmp_path, "off", without_dropout))
    _recorders(monkeypatch)
    train(*_arguments(tmp_path, "auto", without_dropout, "trainer.capture=auto"))
    off, auto = (history(run_dirs(tmp_path, name)[0], "student") for name in ("off", "auto"))
    assert off.keys() == auto.keys()
    for tag, values in off.items():
        assert [step for step, _ in auto[tag]] == [step for step, _ in values], tag
        if tag != "train/data_wait":
            assert [v for _, v in auto[tag]] == pytest.approx(
                [v for _, v in values], rel=5e-3, abs=5e-3, nan_ok=True
            ), tag
