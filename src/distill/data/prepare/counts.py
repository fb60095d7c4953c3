"""Counted events of preparation, per split."""

from __future__ import annotations

from collections import Counter

import numpy as np

from distill.data.format import SPLITS
from distill.data.prepare.arrow import Bool, Int64
from distill.data.prepare.chunk import Int8


class Counts:
    """Named counters such as `missing/train/price`; a counter exists only once something was counted."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()

    def add(self, name: str, number: int) -> None:
        """Adds to one counter."""
        self._counts[name] += number

    def add_rows(self, event: str, subject: str, rows: Int64 | Bool, split: Int8) -> None:
        """Counts rows (positions, or a mask) by their split as `event/<split>/subject`."""
        if len(rows) == 0 or (rows.dtype == np.bool_ and not rows.any()):
            return
        for name, number in zip(SPLITS, np.bincount(split[rows], minlength=len(SPLITS)), strict=True):
            if number:
                self._counts[f"{event}/{name}/{subject}"] += int(number)

    def result(self) -> dict[str, int]:
        """Returns all counters, sorted by name."""
        return dict(sorted(self._counts.items()))
