"""What runs in a worker of an engine."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from distill.engines.base import Merge, Task
from distill.engines.processors import keep_to
from distill.errors import DistillError

_shared: dict[str, Any] = {}  # of the job that this process works for: its number, and what its tasks share


@dataclass(frozen=True)
class Failed:
    """An error of the user's making, which is the same however often a task is run: it travels as a result."""

    kind: type[DistillError]
    problem: str
    texts: dict[str, str | None]

    @classmethod
    def of(cls, error: DistillError) -> Failed:
        """Takes an error apart: its parts are named arguments, which pickle does not know of."""
        texts = {name: getattr(error, name) for name in ("where", "expected", "found", "remedy")}
        return cls(type(error), error.problem, texts)

    def error(self) -> DistillError:
        """Puts it together again."""
        return self.kind(self.problem, **self.texts)


def run_task(token: str, task: Task[Any, Any, Any], sent: Sequence[Any], part: Any) -> tuple[int | Failed, Any]:
    """Runs a task for a part.

    Args:
        token: Of what is sent: a process that knows it already does not read it again.
        task: Of what is shared, and of a part.
        sent: The folder that relative paths are in, and the reference to what is shared.
        part: The part.

    Returns:
        The rows that the task told of, or why it failed, and its result.
    """
    if token not in _shared:
        import ray

        _shared.clear()
        keep_to(1)  # other workers have the others
        folder, shared = sent
        with contextlib.suppress(FileNotFoundError):  # then no path is in it
            os.chdir(folder)
        _shared[token] = ray.get(shared)
    rows: list[int] = []
    try:
        result = task(_shared[token], part, rows.append)
        return sum(rows), result
    except DistillError as error:
        return Failed.of(error), None


def run_merge(merge: Merge[Any], *results: Any) -> Any:
    """Makes one result of several."""
    keep_to(1)
    return merge(results)
