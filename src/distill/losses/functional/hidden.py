"""Distances between hidden vectors of student and teacher: one value per row or per list."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from distill.losses.functional.pairwise import pair_sums
from distill.ops.pairs import segment_pairs


def squared_distance(student: Tensor, teacher: Tensor) -> Tensor:
    """Computes the mean over columns of ``(h_s - h_t)²`` of each row.

    Args:
        student: `[M, W]`.
        teacher: `[M, W]`, detached here.

    Returns:
        `[M]`.
    """
    return (student - teacher.detach()).square().mean(dim=1)


def cosine_distance(student: Tensor, teacher: Tensor) -> Tensor:
    """Computes ``1 - cos(h_s, h_t)`` of each row `[M]`, between 0 and 2; the teacher is detached."""
    return 1.0 - F.cosine_similarity(student, teacher.detach(), dim=1, eps=1e-8)


def relational(student: Tensor, teacher: Tensor, index: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
    """Compares the distances within a list: ``huber(d_ij(student)/μ - d_ij(teacher)/μ')`` over its pairs.

    d is the Euclidean distance and μ its mean over the pairs of the list, so that neither the scale nor the width of
    the vectors matters. Lists in which all vectors of a side are equal have no distances to compare.
    Gradient path: to `student` only.

    Args:
        student: `[M, W]`.
        teacher: `[M, W']`.
        index: List of each row `[M]`, sorted.
        counts: Rows of each list `[S]`.

    Returns:
        Sum over pairs and number of pairs of each list, `[S]` each; both 0 for a list without distances.

    Reference:
        Park et al., "Relational Knowledge Distillation", CVPR 2019, arXiv 1904.05068, eq. 5 to 8, with pairs of one
        request.
    """
    first, second = segment_pairs(counts)
    number = (counts * (counts - 1) / 2).to(student.dtype)
    of_list = index.index_select(0, first)
    scaled, usable = [], number > 0
    for vectors in (student, teacher.detach()):
        squares = (vectors.index_select(0, first) - vectors.index_select(0, second)).square().sum(dim=1)
        distance = torch.where(squares > 0, squares.clamp(min=1e-24).sqrt(), 0.0)
        mean = pair_sums(distance, first, index, counts.shape[0]) / number.clamp(min=1)
        usable = usable & (mean.detach() > 0)
        scaled.append(distance / torch.where(mean > 0, mean, 1.0).index_select(0, of_list))
    values = F.smooth_l1_loss(scaled[0], scaled[1], reduction="none") * usable.index_select(0, of_list)
    return pair_sums(values, first, index, counts.shape[0]), number * usable
