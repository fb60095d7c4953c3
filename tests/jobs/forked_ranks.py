"""Trains again and again in several ranks, each time in new processes: `python -m tests.jobs.forked_ranks JSON`.

A process spends longer on its imports than a small training takes. So one process imports everything, starts no thread
and computes nothing, and every rank is a fork of it that ends as any interpreter does. A line of JSON tells how a
training ended.
"""

from __future__ import annotations

import faulthandler
import importlib
import json
import os
import runpy
import signal
import socket
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
_POLL_SECONDS = 0.05


@dataclass(frozen=True)
class Task:
    """What is to be done.

    Attributes:
        arguments: Of train.py; RUN stands for the number of the training.
        modules: What is imported beforehand.
        runs: How many trainings.
        nodes: Machines that the ranks believe to be on.
        ranks: Of each of them.
        seconds: After which a training hangs: what its ranks do is written to their logs, and they are killed.
        folder: Of `runs.jsonl`, and of the logs RUN_RANK.log.
    """

    arguments: Sequence[str]
    modules: Sequence[str]
    runs: int
    nodes: int
    ranks: int
    seconds: float
    folder: str


def main(task: Task) -> None:
    """Trains `runs` times, and writes a line for each."""
    for name in task.modules:
        importlib.import_module(name)
    threads = len(list(Path("/proc/self/task").iterdir()))
    for run in range(task.runs):
        port, start = _free_port(), time.monotonic()
        ranks = [_fork(task, run, rank, port) for rank in range(task.nodes * task.ranks)]
        status, hung = _ended(ranks, start + task.seconds)
        found = {"run": run, "status": status, "hung": hung, "seconds": time.monotonic() - start, "threads": threads}
        with (Path(task.folder) / "runs.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(found) + "\n")


def _fork(task: Task, run: int, rank: int, port: int) -> int:
    """Starts a rank and returns its process id; in the rank itself it never returns."""
    process = os.fork()
    if process:
        return process
    target = os.open(Path(task.folder) / f"{run}_{rank}.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    os.dup2(target, 1)
    os.dup2(target, 2)
    faulthandler.enable()
    faulthandler.dump_traceback_later(0.9 * task.seconds)
    place = {"RANK": rank, "LOCAL_RANK": rank % task.ranks, "GROUP_RANK": rank // task.ranks}
    place |= {"WORLD_SIZE": task.nodes * task.ranks, "LOCAL_WORLD_SIZE": task.ranks}
    os.environ.update({name: str(value) for name, value in place.items()})
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), TORCHELASTIC_RUN_ID=f"run_{port}")
    sys.argv = [str(ROOT / "train.py"), *(argument.replace("RUN", str(run)) for argument in task.arguments)]
    runpy.run_path(str(ROOT / "train.py"), run_name="__main__")
    sys.exit(0)


def _ended(ranks: Sequence[int], deadline: float) -> tuple[list[int | None], bool]:
    """Waits for ranks; kills those that are left at the deadline. Returns their exit statuses, and whether any were."""
    status: dict[int, int | None] = dict.fromkeys(ranks)
    while None in status.values() and time.monotonic() < deadline:
        for process in (process for process, found in status.items() if found is None):
            ended, how = os.waitpid(process, os.WNOHANG)
            if ended:
                status[process] = os.waitstatus_to_exitcode(how)
        time.sleep(_POLL_SECONDS)
    left = [process for process, found in status.items() if found is None]
    for process in left:
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)
    return list(status.values()), bool(left)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


if __name__ == "__main__":
    main(Task(**json.loads(sys.argv[1])))
