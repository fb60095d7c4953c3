"""Lengths of time: text such as `30m` between points in time, a whole number between whole numbers."""

from __future__ import annotations

import re

_DURATION = re.compile(r"(\d+(?:\.\d+)?) ?(s|m|h|d|w)")
_MICROSECONDS = {"s": 1e6, "m": 6e7, "h": 3.6e9, "d": 8.64e10, "w": 6.048e11}


def check_duration(value: int | str) -> int | str:
    """Returns the value if it is a length of time.

    Raises:
        ValueError: It is none.
    """
    if isinstance(value, bool) or (isinstance(value, int) and not 0 <= value < 2**62):
        raise ValueError("a whole number from 0 on, or a time such as 30s, 15m, 2h, 7d, 1w")
    if isinstance(value, str) and not _DURATION.fullmatch(value):
        raise ValueError("a time is a number and s, m, h, d or w, such as 30m; in units of the log, a whole number")
    return value


def ticks(value: int | str) -> int:
    """Returns a length of time in microseconds, or in the unit of the log."""
    match = _DURATION.fullmatch(str(value))
    return int(value) if match is None else round(float(match[1]) * _MICROSECONDS[match[2]])
