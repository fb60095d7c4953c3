"""Distances within a list, compared between the hidden vectors of student and teacher."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from distill.ops.pairs import PairBlock, PairPlan, pair_blocks


def relational(
    student: Tensor, teacher: Tensor, index: Tensor, counts: Tensor, plan: PairPlan | None = None
) -> tuple[Tensor, Tensor]:
    """Compares the distances within a list: ``huber(d_ij(student)/μ - d_ij(teacher)/μ')`` over its pairs.

    d is the Euclidean distance and μ its mean over the pairs of the list, so that neither the scale nor the width of
    the vectors matters. Lists in which all vectors of a side are equal have no distances to compare.
    Gradient path: to `student` only, which cannot be differentiated again. Distances are computed twice, once for their
    means: the time grows with the pairs, the memory with the vectors.

    Args:
        student: `[M, W]`.
        teacher: `[M, W']`.
        index: List of each row `[M]`, sorted.
        counts: Rows of each list `[S]`.
        plan: What is known of the lists where the host may not look at them; see `pair_blocks`.

    Returns:
        Sum over pairs and number of pairs of each list, `[S]` each; both 0 for a list without distances.

    Reference:
        Park et al., "Relational Knowledge Distillation", CVPR 2019, arXiv 1904.05068, eq. 5 to 8, with pairs of one
        request.
    """
    sums, number = _Relational.apply(student, teacher.detach(), index, counts, plan)  # type: ignore[no-untyped-call]
    return sums, number


class _Relational(torch.autograd.Function):
    """The sums, and their gradient ``∂L/∂x at fixed μ + ∂L/∂μ · ∂μ/∂x``, gathered block by block."""

    @staticmethod
    def forward(
        ctx: Any, student: Tensor, teacher: Tensor, index: Tensor, counts: Tensor, plan: PairPlan | None
    ) -> tuple[Tensor, Tensor]:
        pairs = (counts * (counts - 1) // 2).to(student.dtype)
        vectors = student.detach().requires_grad_(ctx.needs_input_grad[0])
        total, of_total = _distance_sums(vectors, counts, plan)
        total_of_teacher, _ = _distance_sums(teacher, counts, plan)
        usable = (total > 0) & (total_of_teacher > 0)
        scale, scale_of_teacher = (torch.where(usable, pairs / t, 0.0) for t in (total, total_of_teacher))
        sums, by_scale, gradient = _at_fixed_scale(vectors, teacher, scale, scale_of_teacher, (counts, plan))
        if vectors.requires_grad:  # scale = P/Σd, so ∂scale/∂x = -scale²/P · ∂(Σd)/∂x
            through_mean = -by_scale * scale.square() / pairs.clamp(min=1)
            gradient += through_mean.index_select(0, index).unsqueeze(1) * of_total
        ctx.save_for_backward(gradient, index)
        number = pairs * usable
        ctx.mark_non_differentiable(number)
        return sums, number

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None, None, None, None]:
        gradient, index = ctx.saved_tensors
        return grad_outputs[0].index_select(0, index).unsqueeze(1) * gradient, None, None, None, None


def _at_fixed_scale(
    student: Tensor, teacher: Tensor, scale: Tensor, scale_of_teacher: Tensor, lists: tuple[Tensor, PairPlan | None]
) -> tuple[Tensor, Tensor, Tensor]:
    """Returns the sums `[S]`, and their gradients by the student's scale `[S]` and by its vectors `[M, W]`."""
    sums, by_scale, gradient = torch.zeros_like(scale), torch.zeros_like(scale), torch.zeros_like(student)
    for block in _blocks(student, *lists):
        wanted = _distances(teacher, block)[2] * scale_of_teacher[block.segment].view(-1, 1, 1)
        with torch.set_grad_enabled(student.requires_grad):
            first, second, distance = _distances(student, block)
            own = scale[block.segment].requires_grad_(student.requires_grad)
            values = F.smooth_l1_loss(distance * own.view(-1, 1, 1), wanted, reduction="none")
            total = _sum_taken(values, block)
        sums.index_add_(0, block.segment, total.detach())
        if student.requires_grad:
            slopes = torch.autograd.grad(total, (own, first, second), torch.ones_like(total))
            by_scale.index_add_(0, block.segment, slopes[0])
            _add_rows(gradient, block, slopes[1:])
    return sums, by_scale, gradient


def _distance_sums(vectors: Tensor, counts: Tensor, plan: PairPlan | None) -> tuple[Tensor, Tensor]:
    """Adds the distances of each list up `[S]`, with the gradient of that `[M, W]` if `vectors` want one."""
    sums, gradient = torch.zeros(counts.shape, dtype=vectors.dtype, device=vectors.device), torch.zeros_like(vectors)
    for block in _blocks(vectors, counts, plan):
        with torch.set_grad_enabled(vectors.requires_grad):
            first, second, distance = _distances(vectors, block)
            total = _sum_taken(distance, block)
        sums.index_add_(0, block.segment, total.detach())
        if vectors.requires_grad:
            _add_rows(gradient, block, torch.autograd.grad(total, (first, second), torch.ones_like(total)))
    return sums, gradient


def _blocks(vectors: Tensor, counts: Tensor, plan: PairPlan | None) -> Iterator[PairBlock]:
    """The pairs; the gradient of a distance on a GPU takes a vector for each."""
    return pair_blocks(counts, each_once=True, plan=plan, width=vectors.shape[1])


def _distances(vectors: Tensor, block: PairBlock) -> tuple[Tensor, Tensor, Tensor]:
    """Returns a block's vectors of either side, cut off from the graph, and the distances of its pairs `[G, A, B]`.

    They are computed from differences: by ``|x|² + |y|² - 2 xy`` those of vectors that are nearly alike would be noise.
    """
    wants_gradient = vectors.requires_grad
    first, second = (vectors.detach()[rows].requires_grad_(wants_gradient) for rows in (block.first, block.second))
    return first, second, torch.cdist(first, second, compute_mode="donot_use_mm_for_euclid_dist")


def _sum_taken(values: Tensor, block: PairBlock) -> Tensor:
    return (values if block.taken is None else values * block.taken).sum((1, 2))


def _add_rows(gradient: Tensor, block: PairBlock, slopes: tuple[Tensor, ...]) -> None:
    for rows, slope in zip((block.first, block.second), slopes, strict=True):
        gradient.index_add_(0, rows.flatten(), slope.flatten(0, 1))
