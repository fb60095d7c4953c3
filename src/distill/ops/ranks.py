"""What the processes of a run say to each other. Each of them must make the same calls, one after the other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


def rank() -> int:
    """Rank of this process; 0 in a run of one process."""
    return dist.get_rank() if _is_joined() else 0


def world_size() -> int:
    """Number of processes of the run."""
    return dist.get_world_size() if _is_joined() else 1


def barrier() -> None:
    """Waits for all ranks."""
    if _is_joined():
        dist.barrier()


def agree(value: bool) -> bool:
    """Returns rank 0's value on every rank."""
    if not _is_joined():
        return value
    device = torch.device("cuda", torch.cuda.current_device()) if dist.get_backend() == "nccl" else torch.device("cpu")
    flag = torch.tensor([int(value)], device=device)
    dist.broadcast(flag, src=0)
    return bool(flag.item())


def any_rank(value: bool, device: torch.device) -> bool:
    """Returns whether `value` holds on any rank; `device` is where the ranks exchange it."""
    if world_size() == 1:
        return value
    flag = torch.tensor([int(value)], device=device)
    dist.all_reduce(flag, dist.ReduceOp.MAX)
    return bool(flag.item())


def _is_joined() -> bool:
    return dist.is_available() and dist.is_initialized()


def gather_ragged(tensor: Tensor, sizes: Sequence[int] | None = None) -> list[Tensor]:
    """Gathers tensors `[n_r, …]` whose first dimension differs from rank to rank, in rank order, without gradient.

    Args:
        tensor: The own one.
        sizes: n_r of each rank, if they are known (`gather_sizes`); else they are asked for.
    """
    sizes = [size for (size,) in gather_sizes([tensor.shape[0]], tensor.device)] if sizes is None else sizes
    return begin_gather(tensor, sizes)()


def begin_gather(
    tensor: Tensor, sizes: Sequence[int], group: dist.ProcessGroup | None = None
) -> Callable[[], list[Tensor]]:
    """Begins `gather_ragged` and returns what waits for its end: something else can be done meanwhile.

    Args:
        tensor: The own one.
        sizes: n_r of each rank of the group.
        group: Of the ranks that take part; None: all.
    """
    padded = tensor.new_zeros((max(sizes), *tensor.shape[1:]))
    padded[: tensor.shape[0]] = tensor
    buffers = [torch.empty_like(padded) for _ in sizes]
    work = dist.all_gather(buffers, padded, group=group, async_op=True)

    def finish() -> list[Tensor]:
        work.wait()
        return [buffer[:size] for buffer, size in zip(buffers, sizes, strict=True)]

    return finish


def gather_sizes(sizes: Sequence[int], device: torch.device, group: dist.ProcessGroup | None = None) -> list[list[int]]:
    """Returns some numbers of every rank (of a group), in rank order. The host waits for them once, however many."""
    own = torch.tensor(sizes, dtype=torch.int64, device=device)
    buffers = [torch.empty_like(own) for _ in range(dist.get_world_size(group))]
    dist.all_gather(buffers, own, group=group)
    found: list[list[int]] = torch.stack(buffers).tolist()
    return found


def rows_of_all_ranks(rows: Tensor) -> tuple[Tensor, int]:
    """Joins the rows of all ranks. With several ranks this is a collective call, and so is its gradient.

    Gradient path: each rank's rows get the sum of what all ranks' losses say of them. With the mean over ranks that DDP
    takes, it is the gradient of the mean of their losses.

    Args:
        rows: `[n_r, …]`; a rank may have none.

    Returns:
        All rows `[Σ n_r, …]` in rank order, and where the own ones start.
    """
    if world_size() == 1:
        return rows, 0
    joined: tuple[Tensor, Tensor] = _Gathered.apply(rows)  # type: ignore[no-untyped-call]
    return joined[0], int(joined[1])


def sum_over_ranks(values: Tensor) -> Tensor:
    """Returns the sum over ranks, on all of them. With several ranks it is a collective call, and so is its gradient.

    Gradient path: as `rows_of_all_ranks`.
    """
    if world_size() == 1:
        return values
    total: Tensor = _Summed.apply(values)  # type: ignore[no-untyped-call]
    return total


def mean_over_ranks(values: Tensor) -> Tensor:
    """Returns the mean over ranks, on all of them, without gradient. A collective call."""
    return sum_over_ranks(values.detach()) / world_size()


def of_first_rank(values: Tensor) -> Tensor:
    """Returns rank 0's values on all ranks, without gradient: a draw that all ranks must share. A collective call."""
    if world_size() > 1:
        dist.broadcast(values, src=0)
    return values


class _Gathered(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> tuple[Tensor, Tensor]:
        parts = gather_ragged(rows.contiguous())
        start = sum(part.shape[0] for part in parts[: dist.get_rank()])
        ctx.own = slice(start, start + rows.shape[0])
        place = torch.tensor(start)
        ctx.mark_non_differentiable(place)
        return torch.cat(parts), place

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> Tensor:
        grad = grad_outputs[0].contiguous().clone()
        dist.all_reduce(grad)
        return grad[ctx.own]


class _Summed(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        total = values.contiguous().clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> Tensor:
        grad = grad_outputs[0].contiguous().clone()
        dist.all_reduce(grad)
        return grad
