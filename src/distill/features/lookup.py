"""Looks up rows of an embedding table, with gradients that hold the touched rows only.

Autograd adds the sparse gradients of several lookups with an addition that is several times slower than the lookups
themselves. Here each lookup appends its rows to the parameter's gradient instead; equal rows are summed once, by the
optimiser.

Rows of a table in bfloat16 are gathered as they are, and are float32 from there on, as is their gradient.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn import functional

from distill.layers.ragged import padded_mean
from distill.ops.rounding import computed_type
from distill.ops.rows import give_gradient, sparse_rows


def embedding_rows(weight: Tensor, ids: Tensor) -> Tensor:
    """Gathers rows; the gradient of a leaf `weight` is appended to `weight.grad` as a sparse tensor.

    Args:
        weight: Table `[V, D]`.
        ids: Any shape `[…]` int64.

    Returns:
        `[…, D]`; float32 of a table in bfloat16.
    """
    if not (torch.is_grad_enabled() and weight.requires_grad and weight.is_leaf):
        return _rows(weight, ids)
    rows: Tensor = _Rows.apply(weight, ids)  # type: ignore[no-untyped-call]
    return rows


def embedding_mean(weight: Tensor, ids: Tensor, lengths: Tensor) -> Tensor:
    """Averages the rows of each sequence; gradients as those of `embedding_rows`.

    Args:
        weight: Table `[V, D]`.
        ids: Of all sequences `[sum(lengths)]` int64, or padded `[B, L]` where no gradient is wanted.
        lengths: `[B]` int64.

    Returns:
        `[B, D]`, 0 for an empty sequence; float32 of a table in bfloat16.
    """
    if not (torch.is_grad_enabled() and weight.requires_grad and weight.is_leaf):
        return _mean(weight, ids, lengths)
    mean: Tensor = _Mean.apply(weight, ids, lengths)  # type: ignore[no-untyped-call]
    return mean


class _Rows(Function):
    @staticmethod
    def forward(ctx: Any, weight: Tensor, ids: Tensor) -> Tensor:
        ctx.weight = weight
        ctx.save_for_backward(ids)
        return _rows(weight, ids)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, None]:
        (ids,) = ctx.saved_tensors
        _append(ctx.weight, ids.flatten(), gradient.flatten(0, -2))
        return None, None


class _Mean(Function):
    @staticmethod
    def forward(ctx: Any, weight: Tensor, ids: Tensor, lengths: Tensor) -> Tensor:
        ctx.weight = weight
        ctx.save_for_backward(ids, lengths)
        return _mean(weight, ids, lengths)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, None, None]:
        ids, lengths = ctx.saved_tensors
        share = gradient / lengths.clamp(min=1).unsqueeze(1)
        _append(ctx.weight, ids, share.repeat_interleave(lengths, dim=0, output_size=ids.shape[0]))
        return None, None, None


def bag_mean(weight: Tensor, ids: Tensor, starts: Tensor) -> Tensor:
    """Averages the rows of bags that lie one behind the other, in float32 those of a table in bfloat16.

    Args:
        weight: Table `[V, D]`.
        ids: Of all bags `[n]` int64.
        starts: Where each bag begins `[B]` int64.

    Returns:
        `[B, D]`; 0 for an empty bag.
    """
    if weight.dtype is not computed_type(weight.dtype):
        weight, ids = _rows(weight, ids), torch.arange(ids.shape[0], device=ids.device)
    return functional.embedding_bag(ids, weight, starts, mode="mean")


def _rows(weight: Tensor, ids: Tensor) -> Tensor:
    return functional.embedding(ids, weight).to(computed_type(weight.dtype))


def _mean(weight: Tensor, ids: Tensor, lengths: Tensor) -> Tensor:
    if ids.dim() == 2:
        return padded_mean(_rows(weight, ids), lengths)
    return bag_mean(weight, ids, lengths.cumsum(0) - lengths)


@torch.no_grad()
def _append(weight: Tensor, ids: Tensor, values: Tensor) -> None:
    before = weight.grad
    if before is not None:
        if not before.is_sparse:
            weight.grad = before.index_add(0, ids, values.to(before.dtype))
            return
        ids, values = torch.cat([before._indices()[0], ids]), torch.cat([before._values(), values])
    give_gradient(weight, sparse_rows(ids, values, weight.shape))
