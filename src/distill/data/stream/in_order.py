"""Runs tasks on the threads of a pool and gives their results in the order of the tasks."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Executor, Future
from typing import TypeVar

T = TypeVar("T")

Task = Callable[[], T]


def in_order(tasks: Iterator[Task[T]], pool: Executor | None, ahead: int) -> Generator[T, None, None]:
    """Yields the results of tasks in their order, whatever the number of threads.

    The tasks are asked for on the caller's thread. When this generator is closed, those that run are waited for and
    those that wait do not run.

    Args:
        tasks: What is to be done, each on some thread.
        pool: Its threads; None does each task when its result is asked for.
        ahead: Most tasks that run or wait beside the one whose result is asked for.

    Raises:
        BaseException: Whatever a task raises, after the results of those before it; or whatever `tasks` raises, after
            the results of all that it gave.
    """
    if pool is None:
        yield from (task() for task in tasks)
        return
    waiting: deque[Future[T]] = deque()
    ended: BaseException | None = None
    try:
        while True:
            while ended is None and len(waiting) <= ahead:
                try:
                    waiting.append(pool.submit(next(tasks)))
                except BaseException as error:  # after what is waiting
                    ended = error
            if not waiting:
                break
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()
        for future in waiting:
            if not future.cancelled():
                future.exception()
    if ended is not None and not isinstance(ended, StopIteration):
        raise ended
