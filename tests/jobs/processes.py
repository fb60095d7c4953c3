"""Runs commands of several processes in a session of their own, and ends all of it when the time is up."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tests.jobs.entry import ROOT
from tests.patience import patience


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    status: int
    output: str
    errors: str


def run_all(commands: Sequence[Sequence[str]], environments: Sequence[Mapping[str, str]] | None = None) -> list[Done]:
    """Runs commands side by side from the root of the repository; kills what is left of each at the end."""
    extra = environments or [{} for _ in commands]
    started = [
        subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, "OMP_NUM_THREADS": "1", **own},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        for command, own in zip(commands, extra, strict=True)
    ]
    try:
        outputs = [process.communicate(timeout=patience()) for process in started]
    finally:
        for process in started:
            _kill_group(process.pid)
            process.wait(timeout=10)
    return [Done(p.returncode, out, err) for p, (out, err) in zip(started, outputs, strict=True)]


def run_python(*arguments: str) -> Done:
    """Runs Python with arguments."""
    return run_all([[sys.executable, *arguments]])[0]


def torchrun(*arguments: str) -> Done:
    """Runs a script in two processes by torchrun."""
    return run_python("-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", *arguments)


def _kill_group(group: int) -> None:
    try:
        os.killpg(group, signal.SIGKILL)
    except ProcessLookupError:
        return
