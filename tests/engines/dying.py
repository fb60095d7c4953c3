"""Workers that are killed at work: those of the first parts of each task, once each."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from distill.engines import Advance, RayEngine

_KILLED = 4  # parts: a worker takes a while to start


def kill_workers(monkeypatch: pytest.MonkeyPatch, markers: Path) -> None:
    """Lets workers die at four parts of each task: every other one before its work, the others when it is done and not
    yet told."""
    markers.mkdir()
    plain = RayEngine.map

    def of_the_dying(self: RayEngine, task: Any, shared: Any, parts: Sequence[Any], advance: Advance) -> Iterator[Any]:
        numbered = list(enumerate(parts))
        name = getattr(task, "__name__", "task")
        return plain(self, partial(_dying, task, str(markers / name)), shared, numbered, advance)

    monkeypatch.setattr(RayEngine, "map", of_the_dying)


def _dying(task: Any, marker: str, shared: Any, part: tuple[int, Any], advance: Advance) -> Any:
    number, own = part
    path = Path(f"{marker}-{number}")
    first = number < _KILLED and not path.exists()
    path.touch()
    if first and number % 2:
        os.kill(os.getpid(), signal.SIGKILL)
    result = task(shared, own, advance)
    if first:
        os.kill(os.getpid(), signal.SIGKILL)
    return result
