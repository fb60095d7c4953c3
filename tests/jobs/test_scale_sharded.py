"""Sharded tables through the entry point: the curve of whole tables, and checkpoints that each side resumes."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch

from distill.reports.summary import load_summary
from distill.training.checkpoint_io import read_checkpoint
from tests.jobs.entry import run_dirs, tiny_arguments
from tests.jobs.processes import run_python
from tests.patience import patience

TOLERANCE = 1e-4
RUNS = int(os.environ.get("DISTILL_SHARDED_RUNS", "4"))
"""Trainings of each kind that must end one after the other; docs/scale.md says with how many this was tried."""
IMPORTED = ["distill.jobs.train", "distill.features.shards", "torchrec", "torchrec.distributed.planner"]


def _arguments(root: Path, name: str, *arguments: str) -> list[str]:
    tiny = [a for a in tiny_arguments(root) if not a.startswith(("trainer=", "trainer.max", "teacher."))]
    steps = ["trainer=ddp_sim", "data.loader.num_shards=2", "scheduler=constant", "trainer.limit_train_batches=4"]
    return ["+experiment=funnel/two_tower", *tiny, *steps, f"name={name}", *arguments]


def _run(root: Path, name: str, *arguments: str) -> Path:
    done = run_python("train.py", *_arguments(root, name, *arguments))
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


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["row_wise", "table_wise", "planned"])
def test_two_ranks_train_and_end_again_and_again(kind: str, tmp_path: Path) -> None:
    """What ends a process badly once in a while shows after many: each training is of two new processes."""
    pytest.importorskip("torchrec")
    chosen = ["embedding=sharded", f"embedding.sharding={kind}", "trainer.max_epochs=1"]
    task = {
        "arguments": _arguments(tmp_path, "trainingRUN", *chosen),
        "modules": IMPORTED,
        "runs": RUNS,
        "nodes": 1,
        "ranks": 2,
        "seconds": 0.8 * patience() / RUNS,
        "folder": str(tmp_path),
    }
    done = run_python("-m", "tests.jobs.forked_ranks", json.dumps(task))
    assert done.status == 0, done.errors[-3000:]
    found = [json.loads(line) for line in (tmp_path / "runs.jsonl").read_text(encoding="utf-8").splitlines()]
    for run in found:
        logs = [(tmp_path / f"{run['run']}_{rank}.log").read_text(errors="replace")[-3000:] for rank in range(2)]
        assert (run["status"], run["hung"]) == ([0, 0], False), "\n".join(logs)
        (folder,) = run_dirs(tmp_path, f"training{run['run']}")
        assert load_summary(folder).steps == {"model": 4}
    assert len(found) == RUNS
