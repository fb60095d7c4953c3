"""How many processes a config asks for, on what, and what all of them agree on."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from omegaconf import DictConfig, OmegaConf

from distill.errors import ConfigError
from distill.jobs.program import another_process
from distill.training.launch import ranks
from distill.training.rendezvous import started_outside, text_of_rank_zero


def devices(cfg: DictConfig) -> int:
    """Number of processes on this machine that the config asks for."""
    wanted = cfg.trainer.devices
    if wanted == "auto":
        return max(1, torch.cuda.device_count()) if uses_cuda(cfg) else 1
    return int(wanted)


def processes(cfg: DictConfig) -> int:
    """Number of processes on all machines that the config asks for."""
    return devices(cfg) * int(cfg.trainer.num_nodes)


def uses_cuda(cfg: DictConfig) -> bool:
    """Whether the ranks run on GPUs."""
    return str(cfg.trainer.accelerator) in ("gpu", "cuda", "auto") and torch.cuda.is_available()


def device(cfg: DictConfig) -> torch.device:
    """The device of this rank."""
    return torch.device("cuda", torch.cuda.current_device()) if uses_cuda(cfg) else torch.device("cpu")


@contextmanager
def job_ranks(cfg: DictConfig, job_dir: Path) -> Iterator[tuple[DictConfig, Path]]:
    """Runs the body in every process of a job, with the values and the folder of rank 0 in each of them.

    A value that each process would find for itself (the time, a random number) is found once.

    Args:
        cfg: The composed config.
        job_dir: Hydra's output directory.

    Returns:
        The config without interpolations, and the folder of the run.

    Raises:
        ConfigError: The ranks that were started are not those that the config asks for.
    """
    _check_ranks(cfg)
    with ranks(devices(cfg), uses_cuda(cfg), job_dir, another_process()):
        resolved = cfg.copy()
        OmegaConf.resolve(resolved)
        agreed = OmegaConf.create(text_of_rank_zero(OmegaConf.to_yaml(resolved)))
        if not isinstance(agreed, DictConfig):
            raise ConfigError("The config is empty.")
        OmegaConf.set_struct(agreed, True)
        yield agreed, Path(text_of_rank_zero(str(job_dir)))


def _check_ranks(cfg: DictConfig) -> None:
    here, nodes = devices(cfg), int(cfg.trainer.num_nodes)
    outside = started_outside()
    if not outside and (nodes > 1 or (here > 1 and "SUBMITIT_EXECUTOR" in os.environ)):
        raise ConfigError(
            "The ranks of several machines, or of a submitit job, must be started by torchrun, srun or submitit.",
            where="trainer.num_nodes, trainer.devices",
            expected="one process for each device of each node",
            found="one process",
            remedy="See docs/scale.md: torchrun, srun, or hydra/launcher=distill_slurm (one task for each device).",
        )
    if outside:
        local, world = int(os.environ.get("LOCAL_WORLD_SIZE", here)), int(os.environ["WORLD_SIZE"])
        if (local, world) != (here, here * nodes):
            raise ConfigError(
                "The config asks for other ranks than were started.",
                where="trainer.devices, trainer.num_nodes",
                expected=f"trainer.devices={local} trainer.num_nodes={max(world // local, 1)}, as they were started",
                found=f"trainer.devices={here} trainer.num_nodes={nodes}",
            )
