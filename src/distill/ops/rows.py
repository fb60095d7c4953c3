"""Sums the gradient rows of an embedding table that belong to the same id."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from distill.ops.waiting import places

_INT32 = 2**31


def _choose_unchecked() -> None:
    """Chooses torch's default, no checks of sparse tensors, in so many words; a user's choice of checks stays.

    From 2.11 on torch warns where nobody chose, even where `check_invariants` is given.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # to ask is to be warned
        checks = torch.sparse.check_sparse_tensor_invariants.is_enabled()  # type: ignore[no-untyped-call]
    if not checks:
        torch.sparse.check_sparse_tensor_invariants.disable()  # type: ignore[no-untyped-call]


_choose_unchecked()


def sparse_rows(ids: Tensor, values: Tensor, shape: Sequence[int], coalesced: bool = False) -> Tensor:
    """Returns the sparse tensor with some rows of `shape`, unchecked.

    Args:
        ids: `[n]` int64.
        values: `[n, D]`.
        shape: `[V, D]`.
        coalesced: Whether the ids are distinct and rising.
    """
    return torch.sparse_coo_tensor(
        ids.unsqueeze(0), values, tuple(shape), check_invariants=False, is_coalesced=coalesced or None
    )


def sum_rows(ids: Tensor, values: Tensor, num_ids: int) -> tuple[Tensor, Tensor]:
    """Adds up the rows of equal ids.

    The ids are sorted stably and each run is summed like a bag of embeddings, always in the order of the rows: the
    result is the same bit for bit from call to call, and several times faster than `Tensor.coalesce` on CPU.

    Args:
        ids: `[n]` int64, in any order.
        values: `[n, D]`.
        num_ids: Every id is below it.

    Returns:
        The distinct ids in rising order `[u]` int64, and their sums `[u, D]`. Where the host may not look at how many
        there are, u is n: behind the distinct ids come 0, with sums of 0.
    """
    if ids.shape[0] == 0:
        return ids, values
    sorted_ids, order = (ids.int() if num_ids <= _INT32 else ids).sort(stable=True)
    starts_run = torch.ones(ids.shape, dtype=torch.bool, device=ids.device)
    torch.ne(sorted_ids[1:], sorted_ids[:-1], out=starts_run[1:])
    starts = places(starts_run)  # a bag that starts behind the last row is empty
    sums = functional.embedding_bag(order, values, starts.index, mode="sum")
    return starts.keep(sorted_ids.index_select(0, starts.rows).long(), 0), sums


def give_gradient(param: Tensor, gradient: Tensor) -> None:
    """Sets the gradient of a parameter, which may be of another type than it: float32 of a table in bfloat16."""
    if param.grad is None and param.grad_dtype is not gradient.dtype:
        param.grad_dtype = gradient.dtype
    param.grad = gradient


def is_padding(ids: Tensor) -> Tensor:
    """Says which ids of `sum_rows` are none `[n]` bool: those that are 0 and not the first."""
    padding = ids == 0
    padding[:1].zero_()
    return padding


def coalesced(gradient: Tensor) -> Tensor:
    """Returns a sparse gradient `[V, D]` with every row once, by `sum_rows`, whose padding adds 0 to row 0.

    Args:
        gradient: With one sparse dimension.
    """
    if gradient.is_coalesced():
        return gradient
    ids, values = sum_rows(gradient._indices()[0], gradient._values(), gradient.shape[0])
    return sparse_rows(ids, values, gradient.shape, coalesced=True)
