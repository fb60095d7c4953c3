"""Sharded tables through the entry point: the curve of whole tables, and checkpoints that each side resumes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from distill.reports.summary import load_summary
from distill.training.checkpoint_io import read_checkpoint
from tests.jobs.entry import run_dirs, tiny_arguments
from tests.jobs.processes import run_python

TOLERANCE = 1e-4


def _run(root: Path, name: str, *arguments: str) -> Path:
    tiny = [a for a in tiny_arguments(root) if not a.startswith(("trainer=", "trainer.max", "teacher."))]
    steps = ["trainer=ddp_sim", "data.loader.num_shards=2", "scheduler=constant", "trainer.limit_train_batches=4"]
    done = run_python("train.py", "+experiment=funnel/two_tower", *tiny, *steps, f"name={name}", *arguments)
    assert done.status == 0, done.errors[-3000:]
    return run_dirs(root, name)[0]


def _close(one: Path, two: Path) -> None:
    first, second = (read_checkpoint(folder / "checkpoints" / "last.ckpt") for folder in (one, two))
    assert first["state_dict"].keys() == second["state_dict"].keys()
    for name, weight in first["state_dict"].items():
        torch.testing.assert_close(second["state_dict"][name], weight, rtol=TOLERANCE, atol=TOLERANCE)
    sums = [checkpoint["optimizer_states"][0]["tables"]["state"][0]["sum"] for checkpoint in (first, second)]
    torch.testing.assert_close(*sums, rtol=TOLERANCE, atol=TOLERANCE)
    expected, found = load_summary(one), load_summary(two)
    assert expected.parameters == found.parameters
    for name, value in expected.metrics["model"].items():
        assert found.metrics["model"][name] == pytest.approx(value, abs=1e-3, nan_ok=True), name


def test_sharded_runs_equal_whole_ones_and_checkpoints_move_both_ways(tmp_path: Path) -> None:
    pytest.importorskip("torchrec")
    whole = _run(tmp_path, "whole", "trainer.max_epochs=2")
    _close(whole, _run(tmp_path, "sharded", "embedding=sharded", "trainer.max_epochs=2"))
    for name, first, second in (("there", "default", "sharded"), ("back", "sharded", "default")):
        _run(tmp_path, name, f"embedding={first}", "trainer.max_epochs=1")
        _close(whole, _run(tmp_path, name, f"embedding={second}", "trainer.max_epochs=2", "resume=last"))
