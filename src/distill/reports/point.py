"""A number and how sure it is."""

from __future__ import annotations

import math
from dataclasses import dataclass

from distill.reports.numbers import number


@dataclass(frozen=True)
class Number:
    """A number and its standard error over requests, or its deviation over seeds; NaN where there is none."""

    value: float
    error: float = math.nan

    def __str__(self) -> str:
        return number(self.value) + ("" if math.isnan(self.error) else f" ± {number(self.error)}")
