"""What an engine does: a task over parts, whose results come in the order of the parts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol, TypeVar

_Shared = TypeVar("_Shared")
_Part = TypeVar("_Part")
_Result = TypeVar("_Result")

Advance = Callable[[int], None]
"""Told of rows that are done with."""
Merge = Callable[[Sequence[_Result]], _Result]
"""A function of a module: of the results of parts that follow one another, in their order; it may change the first."""
Task = Callable[[_Shared, _Part, Advance], _Result]
"""A function of a module: of what all its parts share, of one part, and of whom to tell of rows.

It may be run twice for a part, also at the same time, if a worker was lost or is taken for lost. So it writes files
whole or not at all, and files that it writes for a part are the same each time, or lie in a folder of their own.
"""


class Engine(Protocol):
    """Runs tasks."""

    @property
    def is_local(self) -> bool:
        """Whether tasks run in this process."""
        ...

    def map(
        self, task: Task[_Shared, _Part, _Result], shared: _Shared, parts: Sequence[_Part], advance: Advance
    ) -> Iterator[_Result]:
        """Runs a task for each part.

        Args:
            task: See `Task`.
            shared: Its first argument; each worker gets it once.
            parts: Its second ones.
            advance: Told of rows in the process that asks, as they are done or with the results.

        Returns:
            The results, in the order of `parts`.

        Raises:
            DistillError: A task raised it; tasks that did not begin are given up.
        """
        ...

    def map_merged(
        self,
        task: Task[_Shared, _Part, _Result],
        merge: Merge[_Result],
        shared: _Shared,
        parts: Sequence[_Part],
        advance: Advance,
    ) -> Iterator[_Result]:
        """Runs a task for each part, and merges the results of parts that follow one another where tasks run.

        Args:
            task: See `Task`.
            merge: Makes one result of several; merged ones are merged again.
            shared: As of `map`, as are `parts` and `advance`.

        Returns:
            What is not merged, in the order of the parts: 7 results at most for each factor of 8 in their number.

        Raises:
            DistillError: As of `map`.
        """
        ...

    def portions(self, parts: Sequence[_Part]) -> list[Sequence[_Part]]:
        """Divides parts that follow one another into those that one task does."""
        ...


class LocalEngine:
    """Runs tasks in this process, one after the other."""

    is_local = True

    def map(
        self, task: Task[_Shared, _Part, _Result], shared: _Shared, parts: Sequence[_Part], advance: Advance
    ) -> Iterator[_Result]:
        """Runs a task for each part, when its result is asked for."""
        return (task(shared, part, advance) for part in parts)

    def map_merged(
        self,
        task: Task[_Shared, _Part, _Result],
        merge: Merge[_Result],
        shared: _Shared,
        parts: Sequence[_Part],
        advance: Advance,
    ) -> Iterator[_Result]:
        """Leaves results as they are: who asks is in the same process."""
        return self.map(task, shared, parts, advance)

    def portions(self, parts: Sequence[_Part]) -> list[Sequence[_Part]]:
        """Leaves all parts to one task, which reads them in one go."""
        return [parts] if parts else []
