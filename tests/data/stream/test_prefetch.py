import gc
import threading
import time
from collections.abc import Iterator

import pytest

from distill.data.stream.prefetch import prefetch


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "distill-prefetch"]


def forever() -> Iterator[int]:
    number = 0
    while True:
        yield number
        number += 1


def test_order_is_kept_and_the_thread_ends() -> None:
    assert list(prefetch(iter(range(100)), 3)) == list(range(100))
    assert not threads()


def test_error_comes_after_the_items_before_it() -> None:
    def broken() -> Iterator[int]:
        yield 1
        raise ValueError("broken")

    items = prefetch(broken(), 5)
    assert next(items) == 1
    with pytest.raises(ValueError, match="broken"):
        next(items)
    assert not threads()


def test_close_ends_the_thread_and_closes_the_source() -> None:
    closed = threading.Event()

    def source() -> Iterator[int]:
        try:
            yield from forever()
        finally:
            closed.set()

    items = prefetch(source(), 2)
    next(items)
    assert threads()
    items.close()
    assert not threads()
    assert closed.is_set()


def test_dropped_iterator_ends_the_thread() -> None:
    items = prefetch(forever(), 2)
    next(items)
    del items
    gc.collect()
    assert not threads()


def test_nothing_runs_before_the_first_item() -> None:
    items = prefetch(forever(), 2)
    assert not threads()
    items.close()


def test_runs_at_most_depth_ahead() -> None:
    made: list[int] = []

    def source() -> Iterator[int]:
        for number in range(100):
            made.append(number)
            yield number

    items = prefetch(source(), 3)
    next(items)
    time.sleep(0.05)
    assert len(made) <= 5  # taken, three waiting, one at the door
    items.close()
