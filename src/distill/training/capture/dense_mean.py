"""The mean over ranks of the gradients of dense parameters, within a step that is recorded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn

from distill.ops.ranks import world_size


@dataclass(frozen=True)
class DenseMean:
    """Averages gradients as DDP does, but in one buffer for each type, and only when it is asked to: a step that is
    recorded calls neither DDP nor its hooks.

    Attributes:
        params: The dense parameters, in the same order on each rank. One without a gradient has one of 0, as the
            buffers of all ranks must be of one length.
    """

    params: Sequence[nn.Parameter]

    def begin(self) -> Callable[[], None]:
        """Sends the gradients and returns what waits for their mean and sets it: something else can be done meanwhile.
        A collective call; nothing waits for a device."""
        begun = [self._begin([p for p in self.params if p.dtype is kind]) for kind in {p.dtype: 0 for p in self.params}]

        def finish() -> None:
            for end in begun:
                end()

        return finish

    def _begin(self, params: Sequence[nn.Parameter]) -> Callable[[], None]:
        buffer = torch.cat([_gradient(param).flatten() for param in params]).div_(world_size())
        work = dist.all_reduce(buffer, async_op=True)

        def finish() -> None:
            work.wait()
            for param, mean in zip(params, torch.split(buffer, [p.numel() for p in params]), strict=True):
                param.grad = mean.view_as(param)

        return finish


def _gradient(param: nn.Parameter) -> Tensor:
    return torch.zeros_like(param) if param.grad is None else param.grad
