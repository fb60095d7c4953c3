"""Numbers as text that fits a column, whatever they are."""

from __future__ import annotations

import math

NONE = "–"  # of a number that is not defined
_LARGEST = 1e4
_LARGEST_SHARE = 9.995  # 999 %


def number(value: float, sign: str = "-") -> str:
    """Writes a number with four digits after the point, a large one with its power of ten, a dash if not defined.

    Args:
        value: The number.
        sign: `+` to write it also of positive numbers.

    >>> number(0.5), number(0.25, "+"), number(math.nan)
    ('0.5000', '+0.2500', '–')
    """
    if math.isnan(value):
        return NONE
    return f"{value:{sign}.4f}" if abs(value) < _LARGEST else f"{value:{sign}.1e}"


def percent(share: float) -> str:
    """Writes a share in percent; beyond ten times the whole it says only that.

    >>> percent(0.756), percent(12.0)
    ('76%', '>999%')
    """
    if abs(share) < _LARGEST_SHARE:
        return f"{share:.0%}"
    return ">999%" if share > 0 else "<−999%"
