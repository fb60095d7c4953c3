"""How many processes a config asks for, on what, and what all of them agree on."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from omegaconf import DictConfig, OmegaConf, read_write

from distill.errors import ConfigError
from distill.jobs.program import another_process
from distill.ops.ranks import rank
from distill.training.launch import ranks
from distill.training.native import bfloat16_pays
from distill.training.rendezvous import started_outside, text_of_rank_zero

_log = logging.getLogger(__name__)
AUTO = "auto"
"""Stands for a value that follows from the machine or from the data."""
MATMUL_PRECISION = "matmul_precision"
CAPTURE = "capture"
NOT_OF_LIGHTNING = (MATMUL_PRECISION, CAPTURE)
"""Keys of `trainer` that are not arguments of Lightning's."""


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


def settled(cfg: DictConfig) -> DictConfig:
    """Returns the config with `trainer.precision=auto` as what it means on this machine."""
    if cfg.trainer.get("precision") != AUTO:
        return cfg
    own = cfg.copy()
    with read_write(own):
        own.trainer.precision = "bf16-mixed" if bfloat16_pays(uses_cuda(cfg)) else "32-true"
    return own


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
        resolved = settled(cfg).copy()
        OmegaConf.resolve(resolved)
        agreed = OmegaConf.create(text_of_rank_zero(OmegaConf.to_yaml(resolved)))
        if not isinstance(agreed, DictConfig):
            raise ConfigError("The config is empty.")
        OmegaConf.set_struct(agreed, True)
        if cfg.trainer.get("precision") == AUTO and rank() == 0:
            _log.info("trainer.precision=auto is %s on this %s.", agreed.trainer.precision, device(agreed).type.upper())
        with _products(str(agreed.trainer.get(MATMUL_PRECISION, "highest"))):
            yield agreed, Path(text_of_rank_zero(str(job_dir)))


@contextmanager
def _products(precision: str) -> Iterator[None]:
    """Computes matrix products of float32 as asked for; see torch.set_float32_matmul_precision."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(precision)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


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
                "The config asks for another number of ranks than were started.",
                where="trainer.devices, trainer.num_nodes",
                expected=f"trainer.devices={local} trainer.num_nodes={max(world // local, 1)}, as they were started",
                found=f"trainer.devices={here} trainer.num_nodes={nodes}",
            )
