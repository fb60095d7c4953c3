"""The engine that a config names."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from omegaconf import DictConfig

from distill.engines import Engine, LocalEngine, RayEngine, RayOptions
from distill.errors import ConfigError

RAY = "ray"


@contextmanager
def engine_of(cfg: DictConfig) -> Iterator[Engine]:
    """Starts the engine of `engine`, and ends it.

    Raises:
        ConfigError: It cannot be had, or the config asks for processes or a device that it does not give.
    """
    if cfg.engine != RAY:
        yield LocalEngine()
        return
    if cfg.get("trainer") is not None:
        _check_trainer(cfg)
    options = RayOptions(cfg.ray.address, cfg.ray.workers, cfg.ray.object_store_bytes)
    with RayEngine.started(options) as engine:
        yield engine


def _check_trainer(cfg: DictConfig) -> None:
    """Refuses ranks beside Ray's workers, and a GPU, which these do not use."""
    from distill.jobs.machine import processes, uses_cuda  # with torch, without which data is prepared

    if processes(cfg) > 1:
        raise ConfigError(
            "Ray's workers are the processes.",
            where="trainer.devices, trainer.num_nodes",
            expected="1 with engine=ray; ray.workers says how many there are",
            found=f"{cfg.trainer.devices}, {cfg.trainer.num_nodes}",
        )
    if uses_cuda(cfg):
        raise ConfigError(
            "engine=ray computes on CPUs.",
            where="trainer.accelerator",
            expected="cpu",
            found=str(cfg.trainer.accelerator),
            remedy="Add trainer=cpu, or leave engine=local.",
        )
