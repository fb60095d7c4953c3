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
    """Lets workers die at four parts of each task, every other one before its work, the others when it is done and not
    yet told, and once at each kind of merging."""
    markers.mkdir()
    plain, merged = RayEngine.map, RayEngine.map_merged

    def merged_by_the_dying(
        self: RayEngine, task: Any, merge: Any, shared: Any, parts: Sequence[Any], advance: Advance
    ) -> Iterator[Any]:
        dying = partial(_dying, task, str(markers / task.__name__))
        merging = partial(_dying_merge, merge, markers / merge.__name__)
        return merged(self, dying, merging, shared, list(enumerate(parts)), advance)

    def of_the_dying(self: RayEngine, task: Any, shared: Any, parts: Sequence[Any], advance: Advance) -> Iterator[Any]:
        numbered = list(enumerate(parts))
        name = getattr(task, "__name__", "task")
        return plain(self, partial(_dying, task, str(markers / name)), shared, numbered, advance)

    monkeypatch.setattr(RayEngine, "map", of_the_dying)
    monkeypatch.setattr(RayEngine, "map_merged", merged_by_the_dying)


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


def _dying_merge(merge: Any, marker: Path, results: Sequence[Any]) -> Any:
    if not marker.exists():
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return merge(results)
