"""One line of a benchmark's table."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class BenchmarkRow:
    """One measured figure.

    Attributes:
        name: What was measured, such as `reader/flat/shuffled`.
        value: The figure.
        unit: Of the value, such as `rows/s`, `s`, `bytes`.
        ratio: The value divided by that of the yardstick measured in the same run; None without a yardstick.
        against: What the yardstick is.
        target: What the ratio (the value, without one) should be, such as `≥ 0.8`.
    """

    name: str
    value: float
    unit: str
    ratio: float | None = None
    against: str | None = None
    target: str | None = None
