"""How many processors this process may use: all of the machine, or those that an engine gave its worker."""

from __future__ import annotations

import os

import pyarrow as pa

_given: int | None = None


def processors() -> int:
    """Returns their number."""
    return _given or os.cpu_count() or 1


def keep_to(count: int) -> None:
    """Makes this process, and Arrow in it, use so many from now on."""
    global _given
    _given = count
    pa.set_cpu_count(count)
