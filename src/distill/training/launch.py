"""Starts the ranks of a run before anything else happens, under Hydra's single runs and sweeps alike.

Lightning's own launcher re-runs the command line, so that under a sweep each child would repeat the whole sweep. Here
a child is started with the composed config of the job, in the job's own directory; Lightning then finds the ranks in
place.
Under torchrun or Slurm the ranks are there already and are only joined.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist

from distill.errors import ConfigError

_VARIABLES = ("LOCAL_RANK", "RANK", "NODE_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
_TIMEOUT = timedelta(minutes=30)


def rank() -> int:
    """Rank of this process; 0 in a run of one process."""
    return dist.get_rank() if dist.is_initialized() else 0


def world_size() -> int:
    """Number of processes of the run."""
    return dist.get_world_size() if dist.is_initialized() else 1


def barrier() -> None:
    """Waits for all ranks."""
    if dist.is_initialized():
        dist.barrier()


def agree(value: bool) -> bool:
    """Returns rank 0's value on every rank."""
    if not dist.is_initialized():
        return value
    device = torch.device("cuda", torch.cuda.current_device()) if dist.get_backend() == "nccl" else torch.device("cpu")
    flag = torch.tensor([int(value)], device=device)
    dist.broadcast(flag, src=0)
    return bool(flag.item())


def any_rank(value: bool, device: torch.device) -> bool:
    """Returns whether `value` holds on any rank; `device` is where the ranks exchange it."""
    if not dist.is_initialized():
        return value
    flag = torch.tensor([int(value)], device=device)
    dist.all_reduce(flag, dist.ReduceOp.MAX)
    return bool(flag.item())


@contextmanager
def ranks(devices: int, use_cuda: bool, job_dir: Path) -> Iterator[None]:
    """Runs the body in `devices` processes, of which this is one.

    Args:
        devices: Processes on this machine.
        use_cuda: Whether each has a GPU of its own (NCCL; else gloo).
        job_dir: Hydra's output directory of the job, with `.hydra/config.yaml`.

    Raises:
        ConfigError: A child ended with an error.
    """
    started_elsewhere = "LOCAL_RANK" in os.environ and "WORLD_SIZE" in os.environ
    if devices == 1 and not started_elsewhere:
        yield
        return
    saved = {name: os.environ.get(name) for name in _VARIABLES}
    threads = torch.get_num_threads()
    children: list[subprocess.Popen[bytes]] = []
    if not started_elsewhere:
        torch.set_num_threads(
            min(threads, max(1, (os.cpu_count() or 1) // devices))
        )  # threads must not fight for cores
        children = _start_children(devices, job_dir)
    try:
        _join(use_cuda)
        with _watched(children):
            yield
        barrier()
    except BaseException:
        for child in children:
            child.terminate()
        raise
    finally:
        _leave(children, saved)
        torch.set_num_threads(threads)
    failed = [child.returncode for child in children if child.returncode != 0]
    if failed:
        raise ConfigError(
            "A rank ended with an error.", found=f"exit status {failed[0]}", remedy="See its message above."
        )


def _start_children(devices: int, job_dir: Path) -> list[subprocess.Popen[bytes]]:
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(_free_port()), WORLD_SIZE=str(devices))
    os.environ.update(NODE_RANK="0", LOCAL_WORLD_SIZE=str(devices))
    children = []
    for local_rank in range(1, devices):
        own = {"LOCAL_RANK": str(local_rank), "RANK": str(local_rank), "OMP_NUM_THREADS": str(torch.get_num_threads())}
        variables = {**os.environ, **own}
        children.append(subprocess.Popen(_command(job_dir), env=variables))
    os.environ.update(LOCAL_RANK="0", RANK="0")
    return children


def _command(job_dir: Path) -> Sequence[str]:
    script = str(Path(sys.argv[0]).resolve())
    config = str((job_dir / ".hydra").resolve())
    overrides = [f"hydra.run.dir='{job_dir.resolve()}'", "hydra.output_subdir=null", "hydra.mode=RUN"]
    return [sys.executable, script, "--config-path", config, "--config-name", "config", *overrides]


def _join(use_cuda: bool) -> None:
    if dist.is_initialized():
        return
    if use_cuda:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group("nccl" if use_cuda else "gloo", timeout=_TIMEOUT)


@contextmanager
def _watched(children: Sequence[subprocess.Popen[bytes]]) -> Iterator[None]:
    """Ends this process when a child dies: its peers would wait for it forever in a collective."""
    done = threading.Event()

    def watch() -> None:
        while not done.wait(0.5):
            if any(child.poll() not in (None, 0) for child in children):
                time.sleep(2.0)  # this rank may be about to report the same error itself
                if not done.is_set():
                    sys.stderr.write("A rank ended with an error: the run is stopped.\n")
                    sys.stderr.flush()
                    for child in children:
                        child.kill()
                    os._exit(1)

    if children:
        threading.Thread(target=watch, daemon=True).start()
    try:
        yield
    finally:
        done.set()


def _leave(children: Sequence[subprocess.Popen[bytes]], saved: dict[str, str | None]) -> None:
    if dist.is_initialized():
        dist.destroy_process_group()
    for child in children:
        try:
            child.wait(timeout=60)
        except subprocess.TimeoutExpired:
            child.kill()
    for name, value in saved.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
