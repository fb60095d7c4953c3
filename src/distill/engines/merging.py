"""Results that are merged in groups, and these again, so that few are left for the process that asked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

GROUP = 8
"""Results of which one is made."""


class Merging:
    """Merges references to results of parts that follow one another; their order stays. What was merged is let go.

    Args:
        merge: Starts merging results, and returns a reference to what will come of it.
    """

    def __init__(self, merge: Callable[[Sequence[Any]], Any]) -> None:
        self._merge = merge
        self._levels: list[list[Any]] = []

    def add(self, reference: Any, level: int = 0) -> None:
        """Adds the result that comes next."""
        if level == len(self._levels):
            self._levels.append([])
        own = self._levels[level]
        own.append(reference)
        if len(own) == GROUP:
            self._levels[level] = []
            self.add(self._merge(own), level + 1)

    def left(self) -> list[Any]:
        """Returns what is not merged, in order: what was merged more often came before."""
        return [reference for own in reversed(self._levels) for reference in own]
