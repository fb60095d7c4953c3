"""A run whose teacher has a head of its own: what it leaves is the served model, and it goes on as if never stopped."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch

from distill.jobs.parts import load_model
from distill.reports.summary import load_summary
from distill.training.checkpoint_io import read_checkpoint
from distill.training.module import RankingModule
from distill.training.second_head import SECOND_HEAD
from tests.jobs.entry import path_arguments, run_dirs, run_script, tiny_arguments, train
from tests.jobs.test_mistakes import message_of

_EPOCHS = "trainer.max_epochs="


def _arguments(root: Path, *others: str) -> list[str]:
    tiny = [a for a in tiny_arguments(root) if not a.startswith(_EPOCHS)]
    return ["+experiment=quickstart", "control.enabled=false", *tiny, "model.head=decoupled", *others]


@pytest.mark.slow
def test_a_run_leaves_the_served_model_alone(tmp_path: Path) -> None:
    train(*_arguments(tmp_path, f"{_EPOCHS}2", "name=whole"))
    (run,) = run_dirs(tmp_path, "whole")
    best = run / "checkpoints" / "best.ckpt"
    loaded = load_model(best)
    assert loaded.model.similarity.bias.shape == (len(loaded.schema.tasks),)  # type: ignore[union-attr]
    summary = load_summary(run)
    assert summary.parameters["distilled"] == sum(p.numel() for p in loaded.model.parameters())
    assert read_checkpoint(best)[SECOND_HEAD]["similarity.bias"].shape == (2 * len(loaded.schema.tasks),)
    bundle = tmp_path / "bundle"
    run_script("scripts/export.py", f"path={best}", f"out={bundle}", *path_arguments(tmp_path))
    assert load_model(bundle).schema.task_names == loaded.schema.task_names


@pytest.mark.slow
def test_a_run_goes_on_with_both_heads_and_another_begins_with_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    training_step = RankingModule.training_step

    def stop(self: RankingModule, batch: Any, batch_idx: int) -> Any:
        if self.global_step == 3 and self.second_head is not None:
            os.kill(os.getpid(), signal.SIGINT)
        return training_step(self, batch, batch_idx)

    train(*_arguments(tmp_path, f"{_EPOCHS}2", "name=whole"))
    with monkeypatch.context() as patch:
        patch.setattr(RankingModule, "training_step", stop)
        with pytest.raises(SystemExit):
            train(*_arguments(tmp_path, f"{_EPOCHS}2", "name=cut"))
    train(*_arguments(tmp_path, f"{_EPOCHS}2", "name=cut"), "resume=last")
    (whole,), (cut,) = run_dirs(tmp_path, "whole"), run_dirs(tmp_path, "cut")
    states = [read_checkpoint(run / "checkpoints" / "last.ckpt") for run in (whole, cut)]
    for key in ("state_dict", SECOND_HEAD):
        assert all(torch.equal(states[1][key][name], value) for name, value in states[0][key].items())

    begins = _arguments(tmp_path, f"{_EPOCHS}1", "name=warm", f"model.init_from={whole}", "model.init_optimizer=true")
    train(*begins, "optimizer.lr=1e-12", "optimizer.embedding_lr=1e-12", "scheduler=constant")
    (warm,) = run_dirs(tmp_path, "warm")
    heads = [read_checkpoint(r / "checkpoints" / "best.ckpt")[SECOND_HEAD] for r in (whole, warm)]
    for name, value in heads[0].items():
        torch.testing.assert_close(heads[1][name], value, atol=1e-6, rtol=1e-6)


@pytest.mark.slow
def test_a_model_with_one_head_begins_one_with_two_optimiser_and_all(tmp_path: Path) -> None:
    """Moments of weights that hold both heads are of another shape there: they begin anew."""
    one = [a for a in _arguments(tmp_path, f"{_EPOCHS}1", "name=one") if a != "model.head=decoupled"]
    train(*one)
    begin = [f"model.init_from={run_dirs(tmp_path, 'one')[0]}", "model.init_optimizer=true"]
    train(*_arguments(tmp_path, f"{_EPOCHS}1", "name=two", *begin))
    (run,) = run_dirs(tmp_path, "two")
    assert all(value.isfinite().all() for value in load_model(run / "checkpoints" / "best.ckpt").model.parameters())


def test_a_head_that_no_term_would_train_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    gone = ["~loss.terms.soft", "~loss.terms.list"]
    said = message_of(capsys, "train.py", *_arguments(tmp_path, f"{_EPOCHS}1", "name=none"), *gone)
    assert "model.head" in said


def test_a_model_without_a_teacher_has_no_second_head(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    alone = ["model=dcn_v2", "loss=hard", "model.head=decoupled"]
    tiny = [a for a in tiny_arguments(tmp_path) if not a.startswith("teacher.")]
    said = message_of(capsys, "train.py", *tiny, *alone, "name=none")
    assert "model.head" in said
