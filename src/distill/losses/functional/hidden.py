"""Distances between hidden vectors of student and teacher: one value per row."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


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
