"""Starts command lines that are to be interrupted; nothing they start outlives the test."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.patience import patience

ROOT = Path(__file__).parents[1]


@contextmanager
def started(script: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Starts a Python script of the repository as a process group of its own, and kills the group at the end."""
    command = [sys.executable, str(ROOT / script), *arguments]
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
    )
    try:
        yield process
    finally:
        kill_group(process)


def finished(script: str, *arguments: str) -> tuple[int, str]:
    """Runs a script to its end and returns exit status and output; it must end in time and leave no process behind."""
    with started(script, *arguments) as process:
        output, _ = process.communicate(timeout=patience())
        assert not group_alive(process.pid), "a process was left behind"
    return process.returncode, output


def kill_group(process: subprocess.Popen[str]) -> None:
    """Kills a process and all that it started."""
    if group_alive(process.pid):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(timeout=30)
    if process.stdout is not None:
        process.stdout.close()


def group_alive(group: int) -> bool:
    """Whether any process of a group is alive (a zombie is not)."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[2]) == group and fields[0] != "Z":
            return True
    return False
