"""Runs jobs one step behind on a thread, so that what becomes of results overlaps with making the next ones."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType


class Behind:
    """Runs jobs in order, one at a time; the last one while the caller goes on.

    A context: none runs when it has ended. An error of a job is raised by the next call, or when the context ends.
    """

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1)
        self._running: Future[None] | None = None

    def __enter__(self) -> Behind:
        return self

    def __call__(self, job: Callable[[], None]) -> None:
        """Waits for the job before, and starts one."""
        self._wait()
        self._running = self._thread.submit(job)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._thread.shutdown(wait=True)
        if error is None:
            self._wait()

    def _wait(self) -> None:
        running, self._running = self._running, None
        if running is not None:
            running.result()
