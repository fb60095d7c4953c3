"""How many processes a config asks for, and on what."""

from __future__ import annotations

import torch
from omegaconf import DictConfig


def devices(cfg: DictConfig) -> int:
    """Number of processes on this machine that the config asks for."""
    wanted = cfg.trainer.devices
    if wanted == "auto":
        return max(1, torch.cuda.device_count()) if uses_cuda(cfg) else 1
    return int(wanted)


def uses_cuda(cfg: DictConfig) -> bool:
    """Whether the ranks run on GPUs."""
    return str(cfg.trainer.accelerator) in ("gpu", "cuda", "auto") and torch.cuda.is_available()


def device(cfg: DictConfig) -> torch.device:
    """The device of this rank."""
    return torch.device("cuda", torch.cuda.current_device()) if uses_cuda(cfg) else torch.device("cpu")
