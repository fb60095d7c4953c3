"""Batches are made ready before their steps, on other threads, as their steps would make them."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path
from typing import Any

import pytest

from distill.batch import Batch
from distill.training.module import RankingModule
from tests.jobs.entry import run_dirs, tiny_arguments, train
from tests.jobs.run_state import checkpoint_state, difference


class Steps:
    """For which step a batch was made ready, and in which step it came; by the rows that it was made of."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, stop: int | None = None) -> None:
        self.ready: list[tuple[int, bool]] = []
        self.pairs: list[tuple[int, int]] = []
        of: dict[int, int] = {}
        ready_on_host, training_step = RankingModule.ready_on_host, RankingModule.training_step

        def ready(module: RankingModule, batch: Batch, step: int) -> Any:
            made = ready_on_host(module, batch, step)
            of[id(made)] = step
            self.kept.append(made)  # so that no other has its id
            self.ready.append((step, threading.current_thread() is threading.main_thread()))
            return made

        def take(module: RankingModule, batch: Batch, batch_idx: int) -> Any:
            self.pairs.append((of[id(batch)], module.global_step))
            if module.global_step == stop:
                os.kill(os.getpid(), signal.SIGINT)
            return training_step(module, batch, batch_idx)

        self.kept: list[Any] = []
        monkeypatch.setattr(RankingModule, "ready_on_host", ready)
        monkeypatch.setattr(RankingModule, "training_step", take)


def _arguments(root: Path, name: str, *more: str) -> list[str]:
    tiny = [a for a in tiny_arguments(root) if "max_epochs" not in a]
    few = ["trainer.max_epochs=2", "data.loader.batch_candidates=512", "loss=hard"]
    return [*tiny, *few, "sampling=in_batch_negatives", f"name={name}", *more]


def test_each_for_its_own_step_also_in_a_run_that_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        whole = Steps(patch)
        train(*_arguments(tmp_path, "whole"))
    assert [step for step, _ in whole.pairs] == [*range(len(whole.pairs))]
    assert all(made_for == step for made_for, step in whole.pairs)
    assert not any(in_step for _, in_step in whole.ready)
    stop = len(whole.pairs) // 2 + 2  # in the middle of the second epoch
    with monkeypatch.context() as patch:
        Steps(patch, stop)
        with pytest.raises(SystemExit):
            train(*_arguments(tmp_path, "stopped"))
    with monkeypatch.context() as patch:
        resumed = Steps(patch)
        train(*_arguments(tmp_path, "stopped", "resume=last"))
    assert resumed.pairs == [(step, step) for step in range(stop + 1, len(whole.pairs))]
    states = [checkpoint_state(run_dirs(tmp_path, name)[0]) for name in ("whole", "stopped")]
    assert difference(*states) is None


def test_in_the_step_where_several_batches_make_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps = Steps(monkeypatch)
    train(*_arguments(tmp_path, "run", "trainer.accumulate_grad_batches=2"))
    assert all(made_for == step for made_for, step in steps.pairs)
    assert all(in_step for _, in_step in steps.ready)
