"""Exchanges touched-row gradients between ranks: (row ids, row gradients) by all-gather.

Stock NCCL has no sparse all-reduce, so embedding tables are left out of DDP's reducer and every rank applies the same
update. Works on gloo and NCCL alike.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
import torch.distributed as dist
from torch import Tensor, nn

from distill.ops.ranks import gather_ragged, gather_sizes
from distill.ops.rounding import computed_type
from distill.ops.rows import coalesced, give_gradient, sparse_rows

_LARGEST_ID = 2**31


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
    """Replaces each parameter's gradient by the mean over ranks, in the same order of summation on every rank.

    Each rank says once how many rows of every table it touched; then the row ids (in 32 bits where they fit) and the
    gradients of a table are gathered, filled up to the most that any rank has.
    """
    tables = list(params)
    if not tables:
        return
    local = [_local_gradient(param) for param in tables]
    counts = gather_sizes([len(rows) for rows, _ in local], tables[0].device)
    for place, (param, (rows, values)) in enumerate(zip(tables, local, strict=True)):
        sizes = [of_rank[place] for of_rank in counts]
        small = rows.int() if param.shape[0] <= _LARGEST_ID else rows
        all_rows = torch.cat(gather_ragged(small, sizes)).long()
        all_values = torch.cat(gather_ragged(values, sizes)) / dist.get_world_size()
        give_gradient(param, coalesced(sparse_rows(all_rows, all_values, param.shape)))


def _local_gradient(param: nn.Parameter) -> tuple[Tensor, Tensor]:
    if param.grad is None:
        empty = torch.empty(0, dtype=torch.long, device=param.device)
        return empty, param.new_empty((0, *param.shape[1:]), dtype=computed_type(param.dtype))
    grad = coalesced(param.grad)
    return grad.indices()[0], grad.values()
