"""Runs an iterator one step ahead on a thread, so that reading overlaps with work."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from distill.engines.processors import processors

_T = TypeVar("_T")


def ahead(items: Iterator[_T]) -> Iterator[_T]:
    """Yields the items in order; the next one is made while the consumer works on the last, if a processor is free.

    Args:
        items: Used on one thread at a time; errors reach the consumer.
    """
    if processors() == 1:
        yield from items
        return
    end = object()
    thread = ThreadPoolExecutor(1)
    try:
        coming = thread.submit(next, items, end)
        while (item := coming.result()) is not end:
            coming = thread.submit(next, items, end)
            yield item  # type: ignore[misc]
    finally:
        # No join: what an error left behind may be collected within `threading` itself, which holds the locks of one.
        thread.shutdown(wait=False, cancel_futures=True)
