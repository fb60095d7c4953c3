"""Runs an iterator ahead of its consumer on one background thread."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Generator, Iterator
from typing import Generic, TypeVar

T = TypeVar("T")


def prefetch(source: Iterator[T], depth: int) -> Generator[T, None, None]:
    """Yields the items of an iterator that a thread runs ahead.

    The thread starts with the first item asked for and ends when the source ends or raises, or when this generator is
    closed or dropped. The source is closed on its own thread if it is a generator.

    Args:
        source: Run on the thread only.
        depth: Most items waiting.

    Raises:
        BaseException: Whatever the source raises, after the items before it.
    """
    worker = _Worker(source, depth)
    worker.thread.start()
    try:
        yield from worker.items()
    finally:
        worker.stop()


class _Worker(Generic[T]):
    """A bounded queue between the thread and its consumer."""

    def __init__(self, source: Iterator[T], depth: int) -> None:
        self.thread = threading.Thread(target=self._run, name="distill-prefetch", daemon=True)
        self._source = source
        self._depth = depth
        self._waiting: deque[T] = deque()
        self._changed = threading.Condition()
        self._ended = False
        self._stopped = False
        self._error: BaseException | None = None

    def items(self) -> Iterator[T]:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._ended)
                if not self._waiting:
                    break
                item = self._waiting.popleft()
                self._changed.notify_all()
            yield item
            del item
        if self._error is not None:
            raise self._error

    def stop(self) -> None:
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
        self.thread.join()
        self._waiting.clear()

    def _run(self) -> None:
        try:
            for item in self._source:
                if not self._put(item):
                    break
        except BaseException as error:
            self._error = error
        finally:
            if isinstance(self._source, Generator):
                self._source.close()
            with self._changed:
                self._ended = True
                self._changed.notify_all()

    def _put(self, item: T) -> bool:
        with self._changed:
            self._changed.wait_for(lambda: len(self._waiting) < self._depth or self._stopped)
            if not self._stopped:
                self._waiting.append(item)
                self._changed.notify_all()
            return not self._stopped
