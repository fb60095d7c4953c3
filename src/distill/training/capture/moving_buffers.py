"""Buffers that steps change: on all ranks they are those of the first."""

from __future__ import annotations

import torch.distributed as dist
from torch import Tensor, nn


class MovingBuffers:
    """Gives all ranks the buffers of rank 0 before a step, as DDP does; only those that a step has changed before.

    Args:
        module: Its buffers stay the same tensors, and are the same on all ranks.
    """

    def __init__(self, module: nn.Module) -> None:
        self._versions = {buffer: buffer._version for buffer in module.buffers()}
        self._moving: dict[Tensor, None] = {}

    def share(self) -> None:
        """Sends them; a collective call."""
        for buffer in self._moving:
            dist.broadcast(buffer, src=0)

    def look(self) -> None:
        """Finds those that have changed since it was made; the host knows without a look at their values."""
        self._moving |= {buffer: None for buffer, before in self._versions.items() if buffer._version != before}
