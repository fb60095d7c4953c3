"""Micro-batches: requests that come within a short time are scored in one call."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from typing import Generic, TypeVar

Job = TypeVar("Job")
Answer = TypeVar("Answer")


class Batcher(Generic[Job, Answer]):
    """Collects jobs from the first one on until a time is over or they are enough, and does them together.

    While a batch is worked on the next one is collected: it starts when its own time is over and the other is done.

    Args:
        work: Answers jobs, in their order; an answer that is an exception is raised where its job was given.
        wait_seconds: That the first job of a batch waits at most for others.
        most: Jobs of a batch.
        threads: Where `work` runs, one batch at a time.
    """

    def __init__(
        self,
        work: Callable[[Sequence[Job]], Sequence[Answer | Exception]],
        wait_seconds: float,
        most: int,
        threads: Executor,
    ) -> None:
        self._work, self._wait, self._most, self._threads = work, wait_seconds, most, threads
        self._waiting: list[tuple[Job, asyncio.Future[Answer]]] = []
        self._timer: asyncio.TimerHandle | None = None

    async def answer(self, job: Job) -> Answer:
        """Returns the answer of a job."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Answer] = loop.create_future()
        self._waiting.append((job, future))
        if len(self._waiting) >= self._most:
            self._start()
        elif self._timer is None:
            self._timer = loop.call_later(self._wait, self._start)
        return await future

    def _start(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        batch, self._waiting = self._waiting, []
        if batch:
            running = asyncio.get_running_loop().run_in_executor(self._threads, self._work, [job for job, _ in batch])
            running.add_done_callback(lambda done: _give(done, [future for _, future in batch]))


def _give(done: asyncio.Future[Sequence[Answer | Exception]], futures: Sequence[asyncio.Future[Answer]]) -> None:
    problem = asyncio.CancelledError() if done.cancelled() else done.exception()
    answers = [problem] * len(futures) if problem is not None else done.result()
    for future, answer in zip(futures, answers, strict=True):
        if future.done():  # its client is gone
            continue
        if isinstance(answer, BaseException):
            future.set_exception(answer)
        else:
            future.set_result(answer)
