"""An interrupted run goes on as if nothing had happened."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from distill.reports.summary import load_summary
from distill.training.checkpoint_io import read_checkpoint
from distill.training.module import RankingModule
from tests.jobs.entry import run_dirs, tiny_arguments, train
from tests.marks import some_fast
from tests.patience import patience
from tests.processes import group_alive, started

_ARGUMENTS = [
    "+experiment=quickstart",
    "control.enabled=false",
    "callbacks.checkpoint_every_n_steps=3",
    "trainer.max_epochs=2",
]


def _arguments(root: Path, name: str) -> list[str]:
    tiny = [a for a in tiny_arguments(root) if not a.startswith(("trainer.max_epochs", "data."))]
    return [*_ARGUMENTS, *tiny, f"name={name}"]


def _state(folder: Path) -> dict[str, Any]:
    checkpoint = read_checkpoint(folder / "checkpoints" / "last.ckpt")
    return {name: checkpoint[name] for name in ("state_dict", "optimizer_states", "lr_schedulers", "global_step")}


def _equal(a: Any, b: Any) -> bool:
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(_equal(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(_equal(x, y) for x, y in zip(a, b, strict=True))
    return bool(a == b)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The root of an uninterrupted run named `whole`."""
    root = tmp_path_factory.mktemp("resume")
    train(*_arguments(root, "whole"))
    return root


@pytest.mark.parametrize(("step", "number"), some_fast([(4, signal.SIGINT), (20, signal.SIGTERM)], 2))
def test_a_signal_leaves_a_checkpoint_from_which_the_run_ends_as_it_would_have(
    whole: Path, step: int, number: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    training_step = RankingModule.training_step
    name = f"stopped_{step}"

    def stop(self: RankingModule, batch: Any, batch_idx: int) -> Any:
        if self.global_step == step - 1:
            os.kill(os.getpid(), number)
        return training_step(self, batch, batch_idx)

    with monkeypatch.context() as patch:
        patch.setattr(RankingModule, "training_step", stop)
        with pytest.raises(SystemExit):
            train(*_arguments(whole, name))
    assert "resume=last" in capsys.readouterr().err
    (folder,) = run_dirs(whole, name)
    assert read_checkpoint(folder / "checkpoints" / "last.ckpt")["global_step"] == step
    train(*_arguments(whole, name), "resume=last")
    assert run_dirs(whole, name) == [folder]
    assert _equal(_state(folder), _state(run_dirs(whole, "whole")[0]))
    metrics = load_summary(folder).metrics["distilled"]
    assert _equal(_text(metrics), _text(load_summary(run_dirs(whole, "whole")[0]).metrics["distilled"]))


@pytest.mark.slow
def test_ctrl_c_reaches_two_processes_together(whole: Path) -> None:
    arguments = [a for a in _arguments(whole, "ranks") if not a.startswith(("trainer=", "trainer.max_epochs"))]
    long = ["trainer=ddp_sim", "trainer.max_epochs=400", "callbacks.patience=null"]
    with started("train.py", *arguments, *long, "callbacks.checkpoint_every_n_steps=null") as process:
        _wait_for_checkpoint(whole, "ranks", process)
        os.killpg(process.pid, signal.SIGINT)
        errors, _ = process.communicate(timeout=patience())
        assert not group_alive(process.pid)
    assert process.returncode != 0
    assert "resume=last" in errors
    assert "Traceback" not in errors
    (folder,) = run_dirs(whole, "ranks")
    step = read_checkpoint(folder / "checkpoints" / "last.ckpt")["global_step"]
    assert f"Interrupted at step {step}" in errors


@pytest.mark.slow
def test_sigterm_to_one_rank_stops_both(whole: Path) -> None:
    arguments = [a for a in _arguments(whole, "one") if not a.startswith(("trainer=", "trainer.max_epochs"))]
    long = ["trainer=ddp_sim", "trainer.max_epochs=400", "callbacks.patience=null"]
    with started("train.py", *arguments, *long, "callbacks.checkpoint_every_n_steps=null") as process:
        _wait_for_checkpoint(whole, "one", process)
        process.send_signal(signal.SIGTERM)
        errors, _ = process.communicate(timeout=patience())
        assert not group_alive(process.pid)
    assert process.returncode != 0
    assert "Interrupted at step" in errors
    assert "Traceback" not in errors


def test_resume_without_a_run_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        train(*_arguments(tmp_path, "nothing"), "resume=last")
    assert "no run to resume" in capsys.readouterr().err


def _text(metrics: dict[str, float]) -> dict[str, str]:
    return {name: repr(value) for name, value in metrics.items()}


def _wait_for_checkpoint(root: Path, name: str, process: subprocess.Popen[Any]) -> None:
    deadline = time.monotonic() + patience()
    while not list((root / "runs" / name).glob("*/checkpoints/last.ckpt")):
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.02)
