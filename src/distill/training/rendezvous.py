"""Joins ranks that were started outside, by torchrun or by Slurm's srun, before there is a process group.

torchrun tells each rank its place by RANK, WORLD_SIZE, …; srun, and submitit with it, by SLURM_PROCID, …; submitit on
this machine by SUBMITIT_LOCAL_GLOBALID, …. All are given torch's names here. The ranks meet in one store, where rank 0
can leave what all must agree on, such as the name of the run's folder.
"""

from __future__ import annotations

import os
from datetime import timedelta
from functools import cache
from itertools import count
from typing import TYPE_CHECKING

from distill.errors import ConfigError
from distill.training.watch import PARENT

if TYPE_CHECKING:  # a process on its own, which names its folder too, needs no torch for it
    from torch.distributed.distributed_c10d import Store

_WAIT = timedelta(minutes=10)
_groups = count()
_names = count()


def started_outside() -> bool:
    """Whether another program (torchrun, srun) started this process as one of the ranks of a run."""
    if PARENT in os.environ:
        return False
    if {"LOCAL_RANK", "RANK", "WORLD_SIZE"} <= os.environ.keys():
        return True
    slurm = int(os.environ.get("SLURM_STEP_NUM_TASKS", "1")) if "SLURM_STEP_ID" in os.environ else 1
    local = int(os.environ.get("SUBMITIT_LOCAL_NTASKS", "1"))
    if slurm > 1:
        os.environ.update(_from_slurm(slurm))
    elif local > 1:
        os.environ.update(_from_submitit(local))
    return max(slurm, local) > 1


def _from_slurm(tasks: int) -> dict[str, str]:
    from lightning_fabric.plugins.environments.slurm import SLURMEnvironment

    found = os.environ
    nodes = int(found.get("SLURM_STEP_NUM_NODES", found.get("SLURM_NNODES", "1")))
    if tasks % nodes:
        raise ConfigError(
            "Every node must run the same number of ranks.",
            where="srun",
            expected="--ntasks-per-node=DEVICES --nodes=NODES",
            found=f"{tasks} tasks on {nodes} nodes",
        )
    node_list = found.get("SLURM_STEP_NODELIST", found.get("SLURM_JOB_NODELIST", "127.0.0.1"))
    return {
        "RANK": found["SLURM_PROCID"],
        "LOCAL_RANK": found["SLURM_LOCALID"],
        "NODE_RANK": found.get("SLURM_NODEID", "0"),
        "WORLD_SIZE": str(tasks),
        "LOCAL_WORLD_SIZE": str(tasks // nodes),
        "MASTER_ADDR": found.get("MASTER_ADDR", SLURMEnvironment.resolve_root_node_address(node_list)),
        "MASTER_PORT": found.get("MASTER_PORT", _port(found.get("SLURM_JOB_ID", ""))),
    }


def _from_submitit(tasks: int) -> dict[str, str]:
    """The place of a task of submitit's local executor: all are on this machine."""
    rank = os.environ["SUBMITIT_LOCAL_GLOBALID"]
    return {
        "RANK": rank,
        "LOCAL_RANK": rank,
        "NODE_RANK": "0",
        "WORLD_SIZE": str(tasks),
        "LOCAL_WORLD_SIZE": str(tasks),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": _port(os.environ.get("SUBMITIT_LOCAL_JOB_ID", "")),
    }


def _port(job: str) -> str:
    """A port that all ranks of a job find for themselves (Lightning takes the same)."""
    return str(15000 + int("".join(c for c in job if c.isdigit())[-4:] or "0"))


@cache
def _store() -> Store:
    """The store of this start of the ranks: torchrun's own outlives a restart of them."""
    from torch.distributed.distributed_c10d import PrefixStore
    from torch.distributed.rendezvous import rendezvous

    store, _, _ = next(rendezvous("env://", timeout=_WAIT))
    return PrefixStore(f"distill_{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", store)


def group_store() -> Store | None:
    """Returns a store for the next process group; None if the ranks were not started outside."""
    if not started_outside():
        return None
    from torch.distributed.distributed_c10d import PrefixStore

    return PrefixStore(f"group_{next(_groups)}", _store())


def agreed_name(own: str) -> str:
    """Returns rank 0's string on every rank, before there is a process group; ranks call it equally often."""
    if not started_outside():
        return own
    key = f"name_{next(_names)}"
    if os.environ["RANK"] == "0":
        _store().set(key, own)
    return str(_store().get(key).decode())


def text_of_rank_zero(own: str) -> str:
    """Returns rank 0's text on every rank of the process group."""
    import torch
    import torch.distributed as dist

    if not dist.is_initialized():
        return own
    device = torch.device("cuda", torch.cuda.current_device()) if dist.get_backend() == "nccl" else torch.device("cpu")
    encoded = torch.tensor(list(own.encode()), dtype=torch.uint8, device=device)
    size = torch.tensor([encoded.numel()], device=device)
    dist.broadcast(size, src=0)
    if dist.get_rank() != 0:
        encoded = torch.empty(int(size.item()), dtype=torch.uint8, device=device)
    dist.broadcast(encoded, src=0)
    return bytes(encoded.tolist()).decode()
