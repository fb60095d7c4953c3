"""Tasks on Ray: on the processors of this machine, or of a cluster that is there."""

from __future__ import annotations

import itertools
import os
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from distill.engines.base import Advance, Merge, Task
from distill.engines.merging import Merging
from distill.engines.ray_cluster import RayOptions, connected, give_up
from distill.engines.worker import Failed, run_merge, run_task
from distill.errors import RankError

_Shared = TypeVar("_Shared")
_Part = TypeVar("_Part")
_Result = TypeVar("_Result")

_TRIES = 4
_WAITING = 2
"""Tasks that are asked for at once, for each processor: one runs, the others wait for it."""


class RayEngine:
    """Runs each task as a task of Ray, on one processor; one that dies with its worker is run again, three times.

    Args:
        ray: The module, connected.
    """

    is_local = False

    def __init__(self, ray: ModuleType) -> None:
        self._ray = ray
        self._numbers = itertools.count()
        again = {"num_cpus": 1, "max_retries": _TRIES - 1}
        self._run = ray.remote(num_returns=2, **again)(run_task)
        self._merge = ray.remote(**again)(run_merge)
        self._at_once = _WAITING * max(1, int(ray.cluster_resources().get("CPU", 1)))

    @classmethod
    @contextmanager
    def started(cls, options: RayOptions) -> Iterator[RayEngine]:
        """Starts Ray on this machine, or connects to a cluster; ends what it started.

        Raises:
            ConfigError: Ray is not installed, runs in this process already, or the cluster does not answer.
            RankError: It does not start.
        """
        with connected(options) as ray:
            yield cls(ray)

    def map(
        self, task: Task[_Shared, _Part, _Result], shared: _Shared, parts: Sequence[_Part], advance: Advance
    ) -> Iterator[_Result]:
        """Runs a task for each part; see `Engine`.

        Raises:
            RankError: The worker of a task died each time.
        """
        for reference in self._done(task, shared, parts, advance):
            yield self._got(reference)

    def map_merged(
        self,
        task: Task[_Shared, _Part, _Result],
        merge: Merge[_Result],
        shared: _Shared,
        parts: Sequence[_Part],
        advance: Advance,
    ) -> Iterator[_Result]:
        """Runs a task for each part, and others that merge what they leave in Ray's memory; see `Engine`.

        Raises:
            RankError: The worker of a task died each time.
        """
        merging = Merging(lambda results: self._merge.remote(merge, *results))
        try:
            for reference in self._done(task, shared, parts, advance):
                merging.add(reference)
            for reference in merging.left():
                yield self._got(reference)
        finally:
            give_up(self._ray, merging.left(), 0)

    def portions(self, parts: Sequence[_Part]) -> list[Sequence[_Part]]:
        """Gives each part a task of its own."""
        return [[part] for part in parts]

    def _done(
        self, task: Task[_Shared, _Part, _Result], shared: _Shared, parts: Sequence[_Part], advance: Advance
    ) -> Iterator[Any]:
        """Yields the reference to the result of each part, in their order, once it is there."""
        token = f"{os.getpid()}-{next(self._numbers)}"
        # In a list it comes as a reference: a process gets what is shared once, not once a task.
        sent = [str(Path.cwd()), self._ray.put(shared)]
        coming: deque[tuple[Any, Any]] = deque()
        waiting = iter(parts)
        try:
            while True:
                for part in itertools.islice(waiting, self._at_once - len(coming)):
                    coming.append(self._run.remote(token, task, sent, part))
                if not coming:
                    return
                told, result = coming.popleft()
                advance(self._got(told))
                yield result
        finally:
            give_up(self._ray, [told for told, _ in coming], 0)

    def _got(self, reference: Any) -> Any:
        """Waits for what a task returns."""
        try:
            result = self._ray.get(reference)
        except (self._ray.exceptions.WorkerCrashedError, self._ray.exceptions.OutOfMemoryError) as error:
            raise RankError(
                f"A worker of Ray died {_TRIES} times at one part.",
                where="engine=ray",
                found=str(error).splitlines()[0][:300],
                remedy="Mostly a machine has too little memory: use fewer workers (ray.workers) or smaller "
                "memory_bytes; Ray's logs say more.",
            ) from error
        if isinstance(result, Failed):
            raise result.error()
        return result
