"""Exchanges touched-row gradients between ranks: (row ids, row gradients) by all-gather.

Stock NCCL has no sparse all-reduce, so embedding tables are left out of DDP's reducer and every rank applies the same
update. Works on gloo and NCCL alike.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
import torch.distributed as dist
from torch import Tensor, nn

from distill.ops.ranks import gather_ragged
from distill.ops.rows import coalesced, sparse_rows


def broadcast_tables(params: Iterable[nn.Parameter]) -> None:
    """Copies rank 0's rows to every rank (DDP does not, for parameters that it ignores)."""
    for param in params:
        dist.broadcast(param.data, src=0)


def sum_sparse_gradients(params: Iterable[nn.Parameter]) -> None:
    """Gives each parameter's gradient every touched row once."""
    for param in params:
        if param.grad is not None:
            param.grad = coalesced(param.grad)


def average_sparse_gradients(params: Iterable[nn.Parameter]) -> None:
    """Replaces each parameter's gradient by the mean over ranks, in the same order of summation on every rank."""
    for param in params:
        rows, values = _local_gradient(param)
        all_rows = torch.cat(gather_ragged(rows))
        all_values = torch.cat(gather_ragged(values)) / dist.get_world_size()
        grad = sparse_rows(all_rows, all_values, param.shape)
        param.grad = coalesced(grad)


def _local_gradient(param: nn.Parameter) -> tuple[Tensor, Tensor]:
    if param.grad is None:
        empty = torch.empty(0, dtype=torch.long, device=param.device)
        return empty, param.new_empty((0, *param.shape[1:]))
    grad = coalesced(param.grad)
    return grad.indices()[0], grad.values()
