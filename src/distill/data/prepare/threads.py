"""The threads that fields and tables are worked on by."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from distill.engines.processors import processors

_MAX_THREADS = 8


def threads() -> ThreadPoolExecutor:
    """Returns as many threads as there are processors, at most 8."""
    return ThreadPoolExecutor(max(1, min(_MAX_THREADS, processors())))


@contextmanager
def meanwhile() -> Iterator[ThreadPoolExecutor]:
    """Yields a thread for what can be done beside the block; if that raises, what has not begun is dropped."""
    thread = ThreadPoolExecutor(1)
    try:
        yield thread
    finally:
        thread.shutdown(cancel_futures=True)
