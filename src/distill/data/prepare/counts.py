"""Counted events of preparation, per split."""

from __future__ import annotations

from collections import Counter

import numpy as np

from distill.data.format import SPLITS
from distill.data.prepare.chunk import Int8
from distill.encodings.arrow import Bool, Int64


def by_split(split: Int8, rows: Int64 | Bool | None = None) -> Int64:
    """Counts rows (positions, or a mask; all if not given) by their split `[3]`."""
    if rows is None:
        return np.array([np.count_nonzero(split == code) for code in range(len(SPLITS))])
    if rows.dtype == np.bool_:
        return np.array([np.count_nonzero((split == code) & rows) for code in range(len(SPLITS))])
    return by_split(split[rows]) if len(rows) else np.zeros(len(SPLITS), np.int64)


class Counts:
    """Named counters such as `missing/train/price`; a counter exists only once something was counted."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()

    def add(self, name: str, number: int) -> None:
        """Adds to one counter."""
        self._counts[name] += number

    def add_rows(self, event: str, subject: str, rows: Int64 | Bool, split: Int8) -> Int64:
        """Counts rows (positions, or a mask) by their split as `event/<split>/subject`, and returns how many `[3]`."""
        if len(rows) == 0 or (rows.dtype == np.bool_ and not rows.any()):
            return np.zeros(len(SPLITS), np.int64)
        found = by_split(split, rows)
        for name, number in zip(SPLITS, found, strict=True):
            if number:
                self._counts[f"{event}/{name}/{subject}"] += int(number)
        return found

    def absorb(self, other: Counts) -> None:
        """Adds what another one counted."""
        for name, number in other._counts.items():
            self._counts[name] += number

    def result(self) -> dict[str, int]:
        """Returns all counters, sorted by name."""
        return dict(sorted(self._counts.items()))
