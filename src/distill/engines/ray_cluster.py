"""Ray, started on this machine or joined where it runs."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from distill.engines.ray_start import start_here
from distill.errors import ConfigError


@dataclass(frozen=True)
class RayOptions:
    """Where Ray runs.

    Attributes:
        address: Of a cluster that is there; None starts Ray on this machine, and ends it with the job.
        workers: Processors of this machine that it uses; None is all.
        object_store_bytes: Memory in which its processes share data on this machine; None leaves it to Ray.
        asked_by: What the user typed to be on Ray, for errors.
        prefix: Of the names of these options where the user gives them, for errors.
    """

    address: str | None = None
    workers: int | None = None
    object_store_bytes: int | None = None
    asked_by: str = "engine=ray"
    prefix: str = "ray."

    def __post_init__(self) -> None:
        given = [name for name in ("workers", "object_store_bytes") if getattr(self, name) is not None]
        if self.address is not None and given:
            raise ConfigError(
                "The size of an existing cluster cannot be set.",
                where=", ".join(f"{self.prefix}{name}" for name in given),
                expected=f"null with {self.prefix}address",
                found=f"{self.prefix}address={self.address}",
                remedy=f"Leave {self.prefix}address out to start Ray on this machine, or the others.",
            )


_LINES_SECONDS = 1.5


def own_lines() -> None:
    """Before Ray is imported: lines of its workers that differ in a number only are all shown."""
    os.environ.setdefault("RAY_DEDUP_LOGS", "0")


def await_lines() -> None:
    """Waits for the last lines of workers, which come by files and are looked for twice a second."""
    time.sleep(_LINES_SECONDS)


@contextmanager
def connected(options: RayOptions) -> Iterator[ModuleType]:
    """Starts Ray on this machine, or connects to a cluster; ends what it started.

    Raises:
        ConfigError: Ray is not installed, runs in this process already, or the cluster does not answer.
        RankError: It does not start.
    """
    ray = _ray(options.asked_by)
    if ray.is_initialized():
        raise ConfigError("Ray is already running in this process.", where=options.asked_by, remedy="End it before.")
    _connect(ray, options)
    try:
        yield ray
    finally:
        ray.shutdown()


def give_up(ray: ModuleType, running: Sequence[Any], seconds: float) -> None:
    """Ends tasks as Ctrl-C would, and kills those that have not ended in time.

    Args:
        ray: The module, connected.
        running: References to what tasks return.
        seconds: What they have to end by themselves.
    """
    left = list(running)
    if left and seconds > 0:
        for reference in left:
            ray.cancel(reference)
        left = ray.wait(left, num_returns=len(left), timeout=seconds)[1]
    for reference in left:
        ray.cancel(reference, force=True)


def _ray(asked_by: str) -> ModuleType:
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
            "Ray is not installed.",
            where=asked_by,
            remedy="Install it: pip install 'distill-ranker[ray]', or do without.",
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
            where=f"{options.prefix}address",
            expected="HOST:PORT of its head, or auto",
            found=f"{options.address}: {str(error).splitlines()[0][:300]}",
        ) from error
