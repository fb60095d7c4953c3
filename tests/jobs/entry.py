"""Runs the command-line tools in this process, as `python train.py …` from the root would."""

from __future__ import annotations

import os
import runpy
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def run_script(script: str, *arguments: str) -> None:
    """Runs a script of the repository with its real `__main__`."""
    before, folder = sys.argv, Path.cwd()
    sys.argv = [str(ROOT / script), *arguments]
    os.chdir(ROOT)
    try:
        runpy.run_path(str(ROOT / script), run_name="__main__")
    finally:
        sys.argv = before
        os.chdir(folder)


def train(*arguments: str) -> None:
    """Runs train.py."""
    run_script("train.py", *arguments)


def replay(*arguments: str) -> None:
    """Runs scripts/replay.py."""
    run_script("scripts/replay.py", *arguments)


def path_arguments(root: Path) -> list[str]:
    """Keeps everything that a run writes below `root`."""
    return [f"paths.{name}={root / name}" for name in ("data", "cache", "runs")]


def tiny_arguments(root: Path) -> list[str]:
    """The synthetic cascade at the size of a test, one epoch on CPU."""
    data = ["data=funnel_tiny", "trainer=cpu", "trainer.max_epochs=1", "teacher.max_epochs=1"]
    quiet = ["trainer.log_every_n_steps=2", "callbacks.progress_bar=false", "cost.enabled=false"]
    return [*data, *quiet, *path_arguments(root)]


def run_dirs(root: Path, name: str) -> list[Path]:
    """The run folders of a name, oldest first."""
    return sorted(path for path in (root / "runs" / name).iterdir() if path.is_dir())
