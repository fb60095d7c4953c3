"""A process that exchanges gradients with itself: what a step of several ranks calls, where there is one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import Tensor

from distill.training import finished_gradients, kept_steps
from distill.training.capture import steps
from distill.training.module import RankingModule


@contextmanager
def exchanging(
    folder: Path, backend: str, device: torch.device, monkeypatch: pytest.MonkeyPatch
) -> Iterator[ExitStack]:
    """Makes steps within exchange, in a group of one process; what it gives calls at the end, before NCCL ends, which
    waits until no recording is left."""
    name = device if device.type == "cuda" else None
    dist.init_process_group(backend, init_method=f"file://{folder}/meet", rank=0, world_size=1, device_id=name)
    try:
        with ExitStack() as ending, monkeypatch.context() as patch:
            for module in (finished_gradients, kept_steps, steps):
                patch.setattr(module, "world_size", lambda: 2)  # of which the others are silent
            yield ending
    finally:
        dist.destroy_process_group()


def sharing_denominators(module: RankingModule) -> RankingModule:
    """Has the denominators of the loss added up over the ranks, as with several."""

    def added(values: Tensor) -> Tensor:
        total = values.clone()
        dist.all_reduce(total)
        return total

    module.loss.reduce_denominators = added
    return module
