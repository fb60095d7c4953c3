"""Quotas: how many of the chosen candidates may share a category."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from distill.encodings.arrow import Int64

Float64 = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Limit:
    """A quota of N candidates.

    Attributes:
        codes: Category of each `[N]`, from 0 on; −1 shares with none.
        most: That may share a category.
        window: In any so many places that follow each other; None in all.
    """

    codes: Int64
    most: int
    window: int | None = None


class Quotas:
    """Which candidates keep all quotas, given those that were chosen.

    Args:
        limits: They.
    """

    def __init__(self, limits: Sequence[Limit]) -> None:
        self._counters = [_Counter(limit) for limit in limits]

    def penalty(self) -> Float64 | None:
        """Returns 0 of candidates that may come next, −inf of the others `[N]`; None if all may."""
        found: Float64 | None = None
        for counter in self._counters:
            if counter.num_full:
                own = counter.penalties[counter.codes]
                found = own if found is None else found + own
        return found

    def add(self, chosen: int) -> None:
        """Takes in the next chosen candidate."""
        for counter in self._counters:
            counter.add(chosen)


class _Counter:
    def __init__(self, limit: Limit) -> None:
        size = int(limit.codes.max(initial=-1)) + 1
        self.codes = np.where(limit.codes < 0, size, limit.codes)  # the last place is never full
        self.penalties = np.zeros(size + 1)
        self.num_full = 0
        self._most, self._counts = limit.most, [0] * (size + 1)
        self._before = None if limit.window is None else limit.window - 1  # places that count with the next one
        self._chosen: list[int] = []

    def add(self, chosen: int) -> None:
        self._chosen.append(int(self.codes[chosen]))
        self._count(self._chosen[-1], 1)
        if self._before is not None and len(self._chosen) > self._before:
            self._count(self._chosen[-1 - self._before], -1)

    def _count(self, code: int, change: int) -> None:
        if code == len(self._counts) - 1:
            return
        was_full = self._counts[code] >= self._most
        self._counts[code] += change
        is_full = self._counts[code] >= self._most
        self.penalties[code] = -np.inf if is_full else 0.0
        self.num_full += is_full - was_full
