"""What a step costs the host is measured for eager and for captured steps."""

from __future__ import annotations

import json
from pathlib import Path

from tests.jobs.entry import path_arguments, run_script


def test_both_kinds_of_steps(tmp_path: Path) -> None:
    small = ["benchmark.rows=6000", "benchmark.batch=128", "benchmark.turns=1"]
    run_script("scripts/benchmark.py", "benchmark=step", *small, *path_arguments(tmp_path))
    (path,) = (tmp_path / "runs").glob("benchmark/step/*/benchmark.json")
    values = {row["name"]: row["value"] for row in json.loads(path.read_text())["rows"]}
    assert values.keys() == {"step/eager/host", "step/captured/host"}
    assert all(value > 0 for value in values.values())
