"""Runs that end before a validation, and a run that says where its time went."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from distill.reports.summary import load_summary
from distill.training.checkpoint_io import read_checkpoint
from tests.jobs.entry import run_dirs, tiny_arguments, train
from tests.jobs.run_state import difference


def _alone(root: Path) -> list[str]:
    """Arguments of a small run without a teacher."""
    return [a for a in tiny_arguments(root) if not a.startswith("teacher.")]


def test_max_steps_may_end_a_run_before_the_first_validation(tmp_path: Path) -> None:
    train(*_alone(tmp_path), "trainer.max_steps=3", "trainer.max_epochs=9", "name=short")
    (folder,) = run_dirs(tmp_path, "short")
    summary = load_summary(folder)
    assert summary.steps == {"model": 3}
    assert 0 < summary.metrics["model"]["click/auc"] < 1


@pytest.mark.slow
@pytest.mark.parametrize("reading", ["resident=host", "resident=device", "workers=3"])
def test_how_rows_are_read_changes_no_bit(tmp_path: Path, reading: str) -> None:
    train(*_alone(tmp_path), "trainer.max_epochs=2", "name=disk")
    train(*_alone(tmp_path), "trainer.max_epochs=2", "name=other", f"data.loader.{reading}")
    found = [read_checkpoint(run_dirs(tmp_path, name)[0] / "checkpoints" / "best.ckpt") for name in ("disk", "other")]
    assert difference(*(state["state_dict"] for state in found)) is None


@pytest.mark.slow
def test_profile_divides_the_time_and_names_operators(tmp_path: Path) -> None:
    train(
        *_alone(tmp_path), "trainer=profile", "trainer.profiler.warm_up=2", "trainer.profiler.steps=3", "name=profiled"
    )
    (folder,) = run_dirs(tmp_path, "profiled")
    report = (folder / "profile.txt").read_text(encoding="utf-8")
    shares = [float(line.split("%")[0].split()[-1]) for line in report.split("\n\n")[1].splitlines()[1:]]
    assert abs(sum(shares) - 100) < 1
    assert all(share >= -0.1 for share in shares)
    assert "forward and loss" in report
    assert "aten::" in report  # which operators cost most depends on the machine and its load
    assert json.loads((folder / "profile.json").read_text(encoding="utf-8"))["traceEvents"]


@pytest.mark.slow
def test_an_epoch_that_is_no_better_is_what_resuming_starts_from(tmp_path: Path) -> None:
    tiny = [a for a in tiny_arguments(tmp_path) if not a.startswith(("teacher.", "trainer.max_epochs"))]
    still = ["optimizer.lr=1e-12", "optimizer.embedding_lr=1e-12", "optimizer.weight_decay=0", "trainer.max_epochs=3"]
    train("model=logistic", "name=still", *tiny, *still)
    folder = run_dirs(tmp_path, "still")[0] / "checkpoints"
    best, last = (read_checkpoint(folder / f"{name}.ckpt") for name in ("best", "last"))
    assert last["global_step"] == 3 * best["global_step"] > 0
    assert not list(folder.glob("last-v*"))
