"""Starts the ranks of a run before anything else happens, under Hydra's single runs and sweeps alike.

Lightning's own launcher re-runs the command line, so that under a sweep each child would repeat the whole sweep. Here
a child is started with the composed config of the job, in the job's own directory; Lightning then finds the ranks in
place.
Under torchrun or Slurm the ranks are there already and are only joined.
"""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist
from torch.distributed import Store, TCPStore  # type: ignore[attr-defined]

from distill.errors import RankError
from distill.ops.ranks import barrier
from distill.training.rendezvous import group_store, started_outside
from distill.training.watch import PARENT, Children, first_failure, follow_parent, stop, watched

_VARIABLES = ("LOCAL_RANK", "RANK", "NODE_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
# Of a collective. Ranks wait for rank 0 while it prepares data or waits for another run; deaths are noticed at once.
_TIMEOUT = timedelta(days=1)
_END_SECONDS = 60.0  # what children have to end after the last barrier
_NOTICE_SECONDS = 5.0  # what a rank that failed has to report its error


@contextmanager
def ranks(devices: int, use_cuda: bool, job_dir: Path, program: Sequence[str]) -> Iterator[None]:
    """Runs the body in `devices` processes, of which this is one.

    The processes end together: when one fails or is killed, the others stop within seconds.

    Args:
        devices: Processes on this machine.
        use_cuda: Whether each has a GPU of its own (NCCL; else gloo).
        job_dir: Hydra's output directory of the job, with `.hydra/config.yaml`.
        program: Arguments of Python with which another process runs the same job.

    Raises:
        RankError: Another rank ended with an error or was killed.
    """
    started_elsewhere = started_outside() or PARENT in os.environ
    if devices == 1 and not started_elsewhere:
        yield
        return
    if started_elsewhere:
        follow_parent()
        with _joined({}, use_cuda, group_store() or _store_of_parent()):
            yield
        return
    saved = {name: os.environ.get(name) for name in _VARIABLES}
    threads = torch.get_num_threads()
    torch.set_num_threads(min(threads, max(1, (os.cpu_count() or 1) // devices)))  # threads must not fight for cores
    store = TCPStore("127.0.0.1", 0, devices, is_master=True, wait_for_workers=False, timeout=_TIMEOUT)
    children = _start_children(devices, [*program, *_arguments(job_dir)], store.port)
    patience = 0.0
    try:
        with watched(children), _joined(children, use_cuda, store):
            yield
        patience = _END_SECONDS
    finally:
        stop(children, patience)
        _restore(saved)
        torch.set_num_threads(threads)
    if (failed := first_failure(children)) is not None:
        raise failed


@contextmanager
def _joined(children: Children, use_cuda: bool, store: Store | None) -> Iterator[None]:
    """Runs the body within the process group; a lost connection is reported as the death of the rank behind it."""
    try:
        _join(use_cuda, store)
        yield
        barrier()
    except Exception as error:
        if not _is_lost_connection(error):
            raise
        if PARENT in os.environ:
            time.sleep(_NOTICE_SECONDS)  # rank 0 ends this process and says why; if it is gone, another thread says so
            sys.exit(1)
        raise first_failure(children, _NOTICE_SECONDS) or RankError(
            "The connection to another rank is lost; the run is stopped.",
            found=str(error).splitlines()[0][:200],
            remedy="See that rank's message; then go on with the same command and resume=last.",
        ) from error
    finally:
        if dist.is_initialized():
            gc.collect()  # of models in cycles that hold the group: its threads must end before the interpreter does
            dist.destroy_process_group()


def _is_lost_connection(error: BaseException) -> bool:
    return isinstance(error, dist.DistError) or (isinstance(error, RuntimeError) and "gloo" in str(error).lower())


def _start_children(devices: int, arguments: Sequence[str], port: int) -> dict[int, subprocess.Popen[bytes]]:
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), WORLD_SIZE=str(devices))
    os.environ.update(NODE_RANK="0", LOCAL_WORLD_SIZE=str(devices))
    children = {}
    for local_rank in range(1, devices):
        own = {"LOCAL_RANK": str(local_rank), "RANK": str(local_rank), "OMP_NUM_THREADS": str(torch.get_num_threads())}
        variables = {**os.environ, **own, PARENT: str(os.getpid())}
        children[local_rank] = subprocess.Popen([sys.executable, *arguments], env=variables)
    os.environ.update(LOCAL_RANK="0", RANK="0")
    return children


def _arguments(job_dir: Path) -> Sequence[str]:
    """What tells a process to run a job as it was composed, in the job's own directory."""
    config = str((job_dir / ".hydra").resolve())
    overrides = [f"hydra.run.dir='{job_dir.resolve()}'", "hydra.output_subdir=null", "hydra.mode=RUN"]
    return ["--config-path", config, "--config-name", "config", *overrides]


def _store_of_parent() -> Store | None:
    """Connects to the store of the rank 0 that started this process; None under torchrun or Slurm."""
    if PARENT not in os.environ:
        return None
    size = int(os.environ["WORLD_SIZE"])
    return TCPStore(os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), size, timeout=_TIMEOUT)


def _join(use_cuda: bool, store: Store | None) -> None:
    if dist.is_initialized():
        return
    if use_cuda:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    backend = "nccl" if use_cuda else "gloo"
    if store is None:
        dist.init_process_group(backend, timeout=_TIMEOUT)
    else:
        rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
        dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=_TIMEOUT)


def _restore(saved: dict[str, str | None]) -> None:
    for name, value in saved.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
