"""Sums the gradient rows of an embedding table that belong to the same id."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

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
    found = EqualIds.of(ids, num_ids)
    return found.ids, found.sums(values)


@dataclass(frozen=True)
class EqualIds:
    """Which of some ids are equal: what `sum_rows` knows before it needs a value.

    Attributes:
        ids: The distinct ones as `sum_rows` returns them `[u]` int64.
        order: The places of all, by id and then in the order in which they came `[n]`.
        starts: Where in `order` each distinct one begins `[u]`.
    """

    ids: Tensor
    order: Tensor
    starts: Tensor

    @classmethod
    def of(cls, ids: Tensor, num_ids: int, exact: bool = False) -> EqualIds:
        """Finds equal ids.

        Args:
            ids: `[n]` int64, in any order.
            num_ids: Every id is below it.
            exact: Whether the host rather waits than that there is padding.
        """
        if ids.shape[0] == 0:
            return cls(ids, ids, ids)
        sorted_ids, order = (ids.int() if num_ids <= _INT32 else ids).sort(stable=True)
        starts_run = torch.ones(ids.shape, dtype=torch.bool, device=ids.device)
        torch.ne(sorted_ids[1:], sorted_ids[:-1], out=starts_run[1:])
        starts = places(starts_run, exact)  # a bag that starts behind the last row is empty
        return cls(starts.keep(sorted_ids.index_select(0, starts.rows).long(), 0), order, starts.index)

    def sums(self, values: Tensor) -> Tensor:
        """Adds up the values `[n, D]` of equal ids, always in the order of the rows: `[u, D]`."""
        if not self.order.shape[0]:
            return values[:0]
        return functional.embedding_bag(self.order, values, self.starts, mode="sum")


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
