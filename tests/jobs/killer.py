"""Runs train.py and does something terrible at a chosen moment: python killer.py WHAT ROLE STEP RANK arguments…

WHAT is `kill` (SIGKILL to itself in a training step), `error` (a plain exception there), `kill_write` (SIGKILL within
the writing of the STEP-th checkpoint), `kill_rename` (SIGKILL between writing and renaming it), or `start` (dies before
it has joined the others). ROLE, STEP and RANK say where.
"""

from __future__ import annotations

import os
import runpy
import signal
import sys
from pathlib import Path
from typing import Any, NoReturn

import torch

from distill.jobs import machine
from distill.jobs.fit import FitJob
from distill.training import checkpoint_io
from distill.training.module import RankingModule

ROOT = Path(__file__).parents[2]


def die(*_: Any) -> NoReturn:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("unreachable")


def arm_step(what: str, role: str, step: int) -> None:
    run, training_step = FitJob.run, RankingModule.training_step
    roles: list[str] = []

    def patched_run(self: FitJob) -> Any:
        roles.append(self.plan.role)
        return run(self)

    def patched_step(self: RankingModule, batch: Any, batch_idx: int) -> Any:
        if roles[-1] == role and self.global_step == step:
            if what == "error":
                raise ValueError("an error of this rank alone")
            die()
        return training_step(self, batch, batch_idx)

    FitJob.run = patched_run  # type: ignore[method-assign]
    RankingModule.training_step = patched_step  # type: ignore[method-assign]


def arm_checkpoint(what: str, number: int) -> None:
    save, written = torch.save, [0]

    def half(checkpoint: Any, file: Any) -> None:
        written[0] += 1
        if written[0] == number and what == "kill_write":
            file.write(b"half of a checkpoint")
            file.flush()
            die()
        save(checkpoint, file)
        if written[0] == number:
            Path.replace = die  # type: ignore[method-assign,assignment]

    checkpoint_io.torch.save = half  # type: ignore[attr-defined,assignment]


def main() -> None:
    what, role, step, rank = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]
    os.environ["KILLER"] = " ".join(sys.argv[1:5])
    sys.argv = [str(Path(__file__).resolve()), *sys.argv[5:]]
    start(what, role, step, rank)


def start(what: str, role: str, step: int, rank: str) -> None:
    machine.another_process = lambda: [str(Path(__file__).resolve())]  # the other ranks are killers too
    if os.environ.get("LOCAL_RANK", "0") == rank:
        if what == "start":
            die()
        if what in ("kill", "error"):
            arm_step(what, role, step)
        else:
            arm_checkpoint(what, step)
    runpy.run_path(str(ROOT / "train.py"), run_name="__main__")


if __name__ == "__main__":
    if "KILLER" in os.environ:  # a rank that the first one started
        what, role, step, rank = os.environ["KILLER"].split()
        start(what, role, int(step), rank)
    else:
        main()
