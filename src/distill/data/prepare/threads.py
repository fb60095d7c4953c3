"""The threads that fields and tables are worked on by."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

_MAX_THREADS = 8


def threads() -> ThreadPoolExecutor:
    """Returns as many threads as there are cores, at most 8."""
    return ThreadPoolExecutor(max(1, min(_MAX_THREADS, os.cpu_count() or 1)))
