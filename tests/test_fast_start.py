"""What reads a command line, or prepares data, imports nothing that it does not need."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.jobs.entry import ROOT, path_arguments
from tests.marks import slow_except, some_fast

HEAVY = ("torch", "pytorch_lightning", "scipy", "pyarrow", "matplotlib", "pandas")
OWN = tuple(f"distill.{name}" for name in ("batch", "models", "losses", "metrics"))
TRAINING = ("torch", "pytorch_lightning", "scipy", *OWN)
LAUNCH = {"distill.training", "distill.training.rendezvous", "distill.training.watch"}
SECONDS = 4.0  # of CPU, here 0.3 to 1.1; it was 11 and more
RUN = """
import json, resource, runpy, sys
script, report = sys.argv[1], sys.argv[2]
sys.argv = [script, *sys.argv[3:]]
status = 0
try:
    if script == "distill":
        from distill.cli import main
        main()
    else:
        runpy.run_path(script, run_name="__main__")
except SystemExit as stop:
    status = stop.code or 0
used = resource.getrusage(resource.RUSAGE_SELF)
with open(report, "w") as file:
    json.dump({"status": status, "modules": sorted(sys.modules), "seconds": used.ru_utime + used.ru_stime}, file)
"""


@dataclass(frozen=True)
class Start:
    """What a command imported, how long it took and what it said."""

    status: int
    modules: set[str]
    seconds: float
    output: str
    errors: str


def start(folder: Path, script: str, *arguments: str) -> Start:
    """Runs a script, or `distill`, in a process of its own."""
    report = folder / "report.json"
    command = [sys.executable, "-c", RUN, script, str(report), *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(report.read_text())
    return Start(found["status"], set(found["modules"]), found["seconds"], done.stdout, done.stderr)


@pytest.mark.parametrize(
    ("script", "arguments", "status", "says"),
    some_fast(
        [
            ("train.py", ["--help"], 0, "two_tower"),
            ("train.py", ["--cfg", "job", "+experiment=quickstart"], 0, "_target_: distill.models"),
            ("train.py", ["sed=1"], 2, "Did you mean seed?"),
            ("train.py", ["-m", "sed=1,2"], 2, "Did you mean seed?"),
            ("scripts/prepare.py", ["--help"], 0, "funnel"),
            ("scripts/score.py", ["--cfg", "job", "teacher.path=x"], 0, "path: x"),
            ("scripts/compare.py", ["--help"], 0, "--sort"),
            ("distill", ["--help"], 0, "compare"),
            ("distill", ["trian"], 2, "Did you mean train?"),
            ("distill", ["train", "--help"], 0, "two_tower"),
            ("distill", ["train", "--cfg", "all", "--resolve"], 0, "runs/two_tower"),
            ("distill", ["compare", "--help"], 0, "--sort"),
            ("distill", ["schema", "init", "--help"], 0, "--rows"),
        ],
        4,
    ),
)
def test_reading_a_command_line_imports_no_job(
    script: str, arguments: list[str], status: int, says: str, tmp_path: Path
) -> None:
    found = start(tmp_path, script, *arguments)
    assert found.status == status, found.errors
    assert says in found.output + found.errors
    assert found.modules.isdisjoint(HEAVY), found.modules & set(HEAVY)
    assert found.seconds < SECONDS


@pytest.mark.parametrize("script", slow_except(["scripts/prepare.py", "distill"], "distill"))
def test_preparing_data_imports_no_training(script: str, tmp_path: Path) -> None:
    command = [*(["prepare"] if script == "distill" else []), "data=funnel_tiny", *path_arguments(tmp_path)]
    found = start(tmp_path, script, *command)
    assert found.status == 0, found.errors
    assert "Use it with data=prepared" in found.output
    assert "distill.data.prepare.pipeline" in found.modules
    assert found.modules.isdisjoint(TRAINING), found.modules & set(TRAINING)
    assert {name for name in found.modules if name.startswith("distill.training")} <= LAUNCH
    assert found.seconds < 2 * SECONDS  # to its last row: here 1.9


@pytest.mark.slow
def test_training_loads_what_preparing_does_without(tmp_path: Path) -> None:
    """The names above are those that a job has once it runs."""
    found = start(tmp_path, "train.py", "data=funnel_tiny", "resume=last", "name=none", *path_arguments(tmp_path))
    assert "There is no run to resume." in found.errors
    assert {*TRAINING, "pyarrow"} <= found.modules
