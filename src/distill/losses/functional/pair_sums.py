"""Sums over the pairs of each list, with gradients, in memory that grows with the rows alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from distill.ops.pairs import PairBlock

Formula = Callable[[Tensor, PairBlock], tuple[Tensor, Tensor | None]]
"""Score differences ``s_a - s_b`` of a block's pairs, and the block, to the value of each pair and its weight, of the
same shape; a weight of None is 1 for all."""


def pair_sums(
    student: Tensor, index: Tensor, num_lists: int, blocks: Iterable[PairBlock], formula: Formula
) -> tuple[Tensor, Tensor]:
    """Computes ``Σ w(a, b) · f(s_a - s_b)`` and ``Σ w(a, b)`` over the pairs of each list.

    The derivative of f is taken block by block, and what is kept for the backward pass is one number a row. Gradient
    path: through f to `student`, which cannot be differentiated again; none through the weights.

    Args:
        student: Scores `[M]`.
        index: List of each row `[M]`.
        num_lists: S.
        blocks: The pairs.
        formula: Gives f, differentiable, and w.

    Returns:
        Both sums `[S]`; 0 for lists without a pair.
    """
    sums, amounts = _PairSums.apply(student, index, num_lists, blocks, formula)  # type: ignore[no-untyped-call]
    return sums, amounts


class _PairSums(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, student: Tensor, index: Tensor, num_lists: int, blocks: Iterable[PairBlock], formula: Formula
    ) -> tuple[Tensor, Tensor]:
        wants_gradient = ctx.needs_input_grad[0]
        sums = torch.zeros(2, num_lists, dtype=torch.float64, device=student.device)
        gradient = torch.zeros_like(student)
        for block in blocks:
            difference = block.difference(student)
            with torch.set_grad_enabled(wants_gradient):
                values, weight = formula(difference.requires_grad_(wants_gradient), block)
            weight = _taken(block, weight, values)
            sums[0].index_add_(0, block.segment, (values.detach() * weight).sum((1, 2), dtype=torch.float64))
            sums[1].index_add_(0, block.segment, weight.sum((1, 2), dtype=torch.float64))
            if wants_gradient:
                (slope,) = torch.autograd.grad(values, difference, weight)
                gradient.index_add_(0, block.first.flatten(), slope.sum(2).flatten())
                gradient.index_add_(0, block.second.flatten(), slope.sum(1).neg_().flatten())
        ctx.save_for_backward(gradient, index)
        total, amount = sums.to(student.dtype).unbind()
        ctx.mark_non_differentiable(amount)
        return total, amount

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, None, None, None, None]:
        gradient, index = ctx.saved_tensors
        return grad_outputs[0].index_select(0, index) * gradient, None, None, None, None


def _taken(block: PairBlock, weight: Tensor | None, values: Tensor) -> Tensor:
    """Returns the weights of pairs, 0 where a pair is not meant."""
    if weight is None:
        weight = torch.ones_like(values) if block.taken is None else block.taken
    elif block.taken is not None:
        weight = weight * block.taken
    return weight.detach().to(values.dtype)
