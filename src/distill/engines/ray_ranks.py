"""The ranks of a job on Ray: a place for each, what torchrun would tell it, and an end together.

Of Ray this takes tasks and placement groups alone. Ray Train starts ranks too, but in a thread of each worker, where a
signal cannot ask training for a checkpoint, with a process group of its own.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import socket
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from distill.engines.ray_cluster import give_up
from distill.engines.ray_start import WAIT_SECONDS
from distill.engines.worker import Failed
from distill.errors import ConfigError, DistillError, RankError

_log = logging.getLogger(__name__)
_NOTICE_SECONDS = 10.0  # after which it is said that there is no room yet
_REPORT_SECONDS = 20.0  # what the others have to end by themselves when a rank has failed
_SAVE_SECONDS = 120.0  # what ranks have for a checkpoint when the job is interrupted


@dataclass(frozen=True)
class RankShape:
    """How many ranks there are, and what each has.

    Attributes:
        machines: Machines of the cluster.
        ranks: Ranks on each machine.
        cpus: Processors of each rank.
        gpus: GPUs of each rank.
    """

    machines: int = 1
    ranks: int = 1
    cpus: int = 1
    gpus: int = 0

    def bundle(self) -> dict[str, float]:
        """Returns what a machine must have, in Ray's names."""
        found = {"CPU": float(self.ranks * self.cpus), "GPU": float(self.ranks * self.gpus)}
        return {name: amount for name, amount in found.items() if amount}


@dataclass(frozen=True)
class _Machine:
    """What a machine says of itself: its address, a free port, and the GPUs that are reserved there."""

    address: str
    port: int
    gpus: str


def run_ranks(ray: ModuleType, shape: RankShape, task: Callable[[Any], None], argument: Any) -> None:
    """Runs a task in as many processes as there are ranks, each with the variables that torchrun sets.

    Args:
        ray: The module, connected.
        shape: How many ranks, and what each has.
        task: A function of a module. It runs in the main thread of a process of its own.
        argument: Its argument, which is pickled.

    Raises:
        ConfigError: The cluster has no room for the ranks.
        DistillError: A rank raised it.
        RankError: A rank died; the others are ended.
    """
    with _reserved(ray, shape) as place:
        whole = {"num_cpus": shape.ranks * shape.cpus, "num_gpus": shape.ranks * shape.gpus, "max_retries": 0}
        looks = [ray.remote(**whole, **place(number))(_look) for number in range(shape.machines)]
        machines = ray.get([look.remote() for look in looks])
        places = rank_places(shape, machines, f"ray-{uuid.uuid4().hex[:8]}")
        folder, running = str(Path.cwd()), {}
        for rank, variables in enumerate(places):
            # A rank sees the GPUs of all ranks of its machine, as under torchrun: those that `_look` was shown.
            own = {"num_cpus": shape.cpus, "max_retries": 0, "max_calls": 1, "name": f"rank {rank}"}
            start = ray.remote(**own, **place(rank // shape.ranks))(_rank)
            running[start.remote(folder, variables, task, argument)] = rank
        _until_all_end(ray, running)


def rank_places(shape: RankShape, machines: Sequence[_Machine], job: str) -> list[dict[str, str]]:
    """Returns the variables of each rank, by torchrun's names, in the order of the ranks.

    Args:
        shape: How many ranks.
        machines: The first is rank 0's.
        job: A name of this start.
    """
    first = machines[0]
    common = {
        "WORLD_SIZE": str(shape.machines * shape.ranks),
        "LOCAL_WORLD_SIZE": str(shape.ranks),
        "MASTER_ADDR": "127.0.0.1" if shape.machines == 1 else first.address,
        "MASTER_PORT": str(first.port),
        "TORCHELASTIC_RUN_ID": job,  # by which Lightning knows that ranks were started outside
        "COLUMNS": str(shutil.get_terminal_size().columns),
    }
    found = []
    for number, machine in enumerate(machines):
        shown = {"CUDA_VISIBLE_DEVICES": machine.gpus} if shape.gpus else {}
        for local in range(shape.ranks):
            own = {"RANK": number * shape.ranks + local, "LOCAL_RANK": local, "NODE_RANK": number, "GROUP_RANK": number}
            found.append({**common, **shown, **{name: str(value) for name, value in own.items()}})
    return found


@contextmanager
def _reserved(ray: ModuleType, shape: RankShape) -> Iterator[Callable[[int], dict[str, Any]]]:
    """Reserves the ranks' room on each machine; yields what puts a task on a machine, by number."""
    from ray.util.placement_group import placement_group, remove_placement_group
    from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

    group = placement_group([shape.bundle()] * shape.machines, strategy="STRICT_SPREAD")
    try:
        _wait_for_room(ray, shape, group)

        def place(number: int) -> dict[str, Any]:
            where = PlacementGroupSchedulingStrategy(group, placement_group_bundle_index=number)
            return {"scheduling_strategy": where}

        yield place
    finally:
        remove_placement_group(group)


def _wait_for_room(ray: ModuleType, shape: RankShape, group: Any) -> None:
    began, said = time.monotonic(), False
    while not group.wait(1):
        waited = time.monotonic() - began
        there = ", ".join(f"{name} {amount:g}" for name, amount in sorted(ray.cluster_resources().items()))
        wanted = ", ".join(f"{name} {amount:g}" for name, amount in shape.bundle().items())
        if waited > WAIT_SECONDS:
            raise ConfigError(
                "The Ray cluster has no room for the ranks.",
                where="--nnodes, --nproc-per-node",
                expected=f"{shape.machines} machines, each with {wanted}",
                found=f"{there}, in all",
                remedy="Ask for fewer ranks, or end what else runs there.",
            )
        if waited > _NOTICE_SECONDS and not said:
            said = True
            _log.warning("Waiting for %d machines with %s each; the cluster has %s.", shape.machines, wanted, there)


def _look() -> _Machine:
    """Runs on a machine, with all GPUs of its ranks."""
    import ray
    from ray.util import get_node_ip_address

    with socket.socket() as probe:
        probe.bind(("", 0))
        return _Machine(get_node_ip_address(), probe.getsockname()[1], ",".join(map(str, ray.get_gpu_ids())))


def _rank(folder: str, variables: dict[str, str], task: Callable[[Any], None], argument: Any) -> Failed | None:
    """Runs in the process of a rank; returns why it failed."""
    os.environ.update(variables)
    with contextlib.suppress(FileNotFoundError):  # then no path is relative to it
        os.chdir(folder)
    try:
        task(argument)
    except DistillError as error:
        return Failed.of(error)
    except SystemExit as stop:  # which Ray takes for the end of its worker
        if stop.code:
            return Failed.of(_ended_badly(int(variables["RANK"]), f"exit status {stop.code}"))
    return None


def _until_all_end(ray: ModuleType, running: dict[Any, int]) -> None:
    """Waits for all ranks; when one fails, the others have a little time to say what they have to.

    Raises:
        Exception: What failed first: an error of a rank's own before the death of one, and this before what others
            say of it.
    """
    left, failures, seconds = dict(running), list[tuple[int, Exception]](), 0.0
    deadline: float | None = None
    try:
        while left and (deadline is None or time.monotonic() < deadline):
            patience = None if deadline is None else max(0.0, deadline - time.monotonic())
            for reference in ray.wait(list(left), num_returns=1, timeout=patience)[0]:
                failed = _failure(ray, reference, left.pop(reference))
                if failed is not None:
                    failures.append(failed)
                    deadline = deadline or time.monotonic() + _REPORT_SECONDS
    except (KeyboardInterrupt, SystemExit):
        seconds = _SAVE_SECONDS
        raise
    finally:
        give_up(ray, list(left), seconds)
    if failures:
        raise min(failures, key=lambda failure: failure[0])[1]


def _failure(ray: ModuleType, reference: Any, rank: int) -> tuple[int, Exception] | None:
    """Returns why a rank failed, with its place among other reasons; None if it did not."""
    try:
        found = ray.get(reference)
    except ray.exceptions.RayTaskError as error:  # no error of a user's: with its traceback
        return 0, error
    except ray.exceptions.RayError as error:
        said = str(error).strip().splitlines() or [type(error).__name__]
        return 1, RankError(
            f"The worker of rank {rank} died; the run is stopped.",
            where="Ray",
            found=said[0][:300],
            remedy="Go on with the same command and resume=last. Mostly a machine has too little memory; Ray's logs "
            "say more.",
        )
    if found is None:
        return None
    failed = found.error()
    return (2 if isinstance(failed, RankError) else 0), failed


def _ended_badly(rank: int, how: str) -> RankError:
    return RankError(
        f"Rank {rank} ended with an error; the run is stopped.",
        found=how,
        remedy="See its message above; then go on with the same command and resume=last.",
    )
