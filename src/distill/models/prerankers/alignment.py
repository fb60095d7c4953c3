"""Category alignment of DAT: items of rare categories are spread as those of the most frequent one."""

from __future__ import annotations

import torch
from torch import Tensor


def category_alignment(vectors: Tensor, category: Tensor) -> Tensor:
    """Σ_i ‖C(S_major) − C(S_i)‖²_F over the categories i of a batch, mean over tasks.

    C is the covariance of a category's vectors; categories with fewer than two rows have none and are left out. S_major
    is the category with most rows, of several the one with the lowest id; no gradient goes through its covariance,
    which is the aim of the others (a deviation from the paper).

    Args:
        vectors: `[N, K, D]`.
        category: `[N]` int64.

    Returns:
        A scalar; 0 if there is one category, or no row.

    Reference: Yu et al., "A Dual Augmented Two-tower Model for Online Large-scale Recommendation", DLP-KDD 2021, eq. 5.
    """
    if not vectors.shape[0]:
        return vectors.sum()
    _, group = torch.unique(category, return_inverse=True)
    counts = torch.bincount(group).to(vectors.dtype)
    sums = vectors.new_zeros((counts.shape[0], *vectors.shape[1:])).index_add(0, group, vectors)
    centred = vectors - (sums / counts.view(-1, 1, 1)).index_select(0, group)
    products = centred.unsqueeze(3) * centred.unsqueeze(2)
    scatter = vectors.new_zeros((counts.shape[0], *products.shape[1:])).index_add(0, group, products)
    covariance = scatter / (counts - 1).clamp(min=1).view(-1, 1, 1, 1)
    distance = (covariance - covariance[counts.argmax()].detach()).square().sum((2, 3)).mean(1)
    return (distance * (counts > 1)).sum()
