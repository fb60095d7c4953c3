"""Sweeps whose jobs run side by side: one teacher for all, one table at the end."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from distill.reports.summary import load_summary
from tests.jobs.entry import tiny_arguments
from tests.jobs.processes import run_python


@pytest.mark.slow
def test_jobs_side_by_side_share_a_teacher(tmp_path: Path) -> None:
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    few = ["teacher=trained", "loss=pointwise", "trainer.limit_train_batches=2", "logger=none", "threads=1"]
    jobs = ["data.adapter.seed=0", "loss.terms.soft.weight=1.0,3.0", "hydra/launcher=distill_joblib"]
    done = run_python("train.py", "-m", *tiny_arguments(tmp_path), *few, *jobs)
    assert done.status == 0, done.errors[-3000:]
    said = [line for line in done.errors.splitlines() if "epoch 1/1" in line]
    assert {line.partition("]")[0] for line in said} == {"[0", "[1"}  # with their overrides where these are short
    (sweep,) = (tmp_path / "runs" / "sweeps").iterdir()
    found = [load_summary(sweep / job) for job in ("0", "1")]
    assert sorted("teacher" in summary.cached for summary in found) == [False, True]
    assert found[0].metrics["teacher"] == found[1].metrics["teacher"]
    rows = json.loads((sweep / "comparison.json").read_text())
    assert [row["role"] for row in rows].count("distilled") == 2
