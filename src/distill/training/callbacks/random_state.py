"""Dropout after a restart continues the random sequence in which it was interrupted."""

from __future__ import annotations

from typing import Any

import pytorch_lightning as pl
import torch
import torch.distributed as dist
from torch import Tensor

from distill.ops.ranks import world_size

_KEY = "distill_random_state"


class RandomState(pl.Callback):
    """Keeps the state of torch's generators of all ranks in the checkpoint.

    A run that goes on with another number of processes starts a new sequence: there is none to continue.
    """

    def __init__(self) -> None:
        self._restored: Tensor | None = None

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Adds the states `[ranks, bytes]` uint8; every rank calls it."""
        checkpoint[_KEY] = _gather(_state(pl_module.device))

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Keeps the states until training starts."""
        self._restored = checkpoint.get(_KEY)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Continues the sequence of this rank."""
        states, self._restored = self._restored, None
        size = _state(pl_module.device).numel()
        if states is not None and tuple(states.shape) == (world_size(), size):
            _set_state(states[trainer.global_rank].cpu(), pl_module.device)


def _state(device: torch.device) -> Tensor:
    """The state of the CPU's generator, followed by that of the GPU in use."""
    own = [torch.get_rng_state()]
    if device.type == "cuda":
        own.append(torch.cuda.get_rng_state(device))
    return torch.cat(own)


def _set_state(state: Tensor, device: torch.device) -> None:
    size = torch.get_rng_state().numel()
    torch.set_rng_state(state[:size].clone())  # it reads from the start of the storage: a view would be another's state
    if device.type == "cuda":
        torch.cuda.set_rng_state(state[size:].clone(), device)


def _gather(state: Tensor) -> Tensor:
    if world_size() == 1:
        return state[None]
    device = torch.device("cuda", torch.cuda.current_device()) if dist.get_backend() == "nccl" else state.device
    found = [torch.empty_like(state, device=device) for _ in range(world_size())]
    dist.all_gather(found, state.to(device))
    return torch.stack(found).cpu()
