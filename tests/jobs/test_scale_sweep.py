"""Sweeps with several processes: each job trains one set of parameters, in one folder, whatever is random."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.jobs.entry import ROOT, tiny_arguments
from tests.jobs.processes import run_python, torchrun

RUNNER = str(ROOT / "tests" / "jobs" / "random_runner.py")


def _sweep(root: Path) -> list[str]:
    tiny = [a for a in tiny_arguments(root) if not a.startswith(("trainer=", "teacher."))]
    few = ["trainer=ddp_sim", "trainer.limit_train_batches=2", "logger=none"]
    random = ["optimizer.lr=${random_rate:}", "optimizer.embedding_lr=${random_rate:}", "seed=0,1"]
    return ["-m", "+experiment=funnel/two_tower", *tiny, *few, *random]


def _records(folder: Path) -> dict[str, Any]:
    return {path.stem: json.loads(path.read_text()) for path in sorted(folder.iterdir())}


@pytest.mark.slow
@pytest.mark.parametrize("start", [run_python, torchrun])
def test_an_unseeded_random_sweep_trains_the_same_on_every_rank(
    start: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "records").mkdir()
    monkeypatch.setenv("RECORDS", str(tmp_path / "records"))
    done = start(RUNNER, *_sweep(tmp_path))
    assert done.status == 0, done.errors[-3000:]
    found = _records(tmp_path / "records")
    assert set(found) == {"0-rank0", "0-rank1", "1-rank0", "1-rank1"}
    for job in ("0", "1"):
        assert found[f"{job}-rank0"] == found[f"{job}-rank1"]
    assert found["0-rank0"]["rates"] != found["1-rank0"]["rates"]  # it was random
    assert found["0-rank0"]["weights"] != found["1-rank0"]["weights"]
    (sweep,) = (tmp_path / "runs" / "sweeps").iterdir()
    assert {path.name for path in sweep.iterdir() if path.is_dir()} == {"0", "1"}
    assert len(json.loads((sweep / "comparison.json").read_text())) > 0
    assert done.output.count("2 runs") == 1
