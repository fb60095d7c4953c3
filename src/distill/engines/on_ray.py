"""Tasks on Ray: on the processors of this machine, or of a cluster that is there."""

from __future__ import annotations

import itertools
import logging
import os
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from distill.engines.base import Advance, Task
from distill.engines.ray_start import start_here
from distill.engines.worker import Failed, run_task
from distill.errors import ConfigError, RankError

_Shared = TypeVar("_Shared")
_Part = TypeVar("_Part")
_Result = TypeVar("_Result")

_TRIES = 4
_WAITING = 2
"""Tasks that are asked for at once, for each processor: one runs, the others wait for it."""


@dataclass(frozen=True)
class RayOptions:
    """Where Ray runs.

    Attributes:
        address: Of a cluster that is there; None starts Ray on this machine, and ends it with the job.
        workers: Processors of this machine that it uses; None is all.
        object_store_bytes: Memory in which its processes share data on this machine; None leaves it to Ray.
    """

    address: str | None = None
    workers: int | None = None
    object_store_bytes: int | None = None

    def __post_init__(self) -> None:
        given = [name for name in ("workers", "object_store_bytes") if getattr(self, name) is not None]
        if self.address is not None and given:
            raise ConfigError(
                "The size of an existing cluster cannot be set.",
                where=", ".join(f"ray.{name}" for name in given),
                expected="null with ray.address",
                found=f"ray.address={self.address}",
                remedy="Leave ray.address out to start Ray on this machine, or the others.",
            )


class RayEngine:
    """Runs each task as a task of Ray, on one processor; one that dies with its worker is run again, three times.

    Args:
        ray: The module, connected.
    """

    is_local = False

    def __init__(self, ray: ModuleType) -> None:
        self._ray = ray
        self._numbers = itertools.count()
        self._run = ray.remote(num_cpus=1, max_retries=_TRIES - 1)(run_task)
        self._at_once = _WAITING * max(1, int(ray.cluster_resources().get("CPU", 1)))

    @classmethod
    @contextmanager
    def started(cls, options: RayOptions) -> Iterator[RayEngine]:
        """Starts Ray on this machine, or connects to a cluster; ends what it started.

        Raises:
            ConfigError: Ray is not installed, runs in this process already, or the cluster does not answer.
            RankError: It does not start.
        """
        ray = _ray()
        if ray.is_initialized():
            raise ConfigError("Ray is already running in this process.", where="engine", remedy="End it before.")
        _connect(ray, options)
        try:
            yield cls(ray)
        finally:
            ray.shutdown()

    def map(
        self, task: Task[_Shared, _Part, _Result], shared: _Shared, parts: Sequence[_Part], advance: Advance
    ) -> Iterator[_Result]:
        """Runs a task for each part; see `Engine`.

        Raises:
            RankError: The worker of a task died each time.
        """
        token = f"{os.getpid()}-{next(self._numbers)}"
        # In a list it comes as a reference: a process gets what is shared once, not once a task.
        sent = [str(Path.cwd()), self._ray.put(shared)]
        coming: deque[Any] = deque()
        waiting = iter(parts)
        try:
            while True:
                for part in itertools.islice(waiting, self._at_once - len(coming)):
                    coming.append(self._run.remote(token, task, sent, part))
                if not coming:
                    return
                rows, result = self._done(coming.popleft())
                advance(rows)
                yield result
        finally:
            for left in coming:
                self._ray.cancel(left, force=True)

    def portions(self, parts: Sequence[_Part]) -> list[Sequence[_Part]]:
        """Gives each part a task of its own."""
        return [[part] for part in parts]

    def _done(self, reference: Any) -> tuple[int, Any]:
        """Waits for a task; returns the rows that it told of, and its result."""
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
        done: tuple[int, Any] = result
        return done


def _ray() -> ModuleType:
    """Imports Ray.

    Raises:
        ConfigError: It is not installed.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # it tells its makers of each start
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # tasks without a GPU leave its variables alone
    try:
        import ray
    except ImportError as error:
        raise ConfigError(
            "engine=ray runs on Ray, which is not installed.",
            where="engine",
            remedy="Install it: pip install 'distill-ranker[ray]', or leave engine=local.",
        ) from error
    found: ModuleType = ray
    return found


def _connect(ray: ModuleType, options: RayOptions) -> None:
    if options.address is None:
        start_here(ray, options.workers, options.object_store_bytes)
        return
    try:
        ray.init(address=options.address, logging_level=logging.WARNING)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise ConfigError(
            "The Ray cluster does not answer.",
            where="ray.address",
            expected="HOST:PORT of its head, or auto",
            found=f"{options.address}: {str(error).splitlines()[0][:300]}",
        ) from error
