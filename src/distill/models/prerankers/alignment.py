"""Category alignment of DAT: items of rare categories are spread as those of the most frequent one."""

from __future__ import annotations

import torch
from torch import Tensor


def category_alignment(
    vectors: Tensor, category: Tensor, real: Tensor | None = None, num_categories: int | None = None
) -> Tensor:
    """Σ_i ‖C(S_major) − C(S_i)‖²_F over the categories i of a batch, mean over tasks.

    C is the covariance of a category's vectors; categories with fewer than two rows have none and are left out. S_major
    is the category with most rows, of several the one with the lowest id; no gradient goes through its covariance,
    which is the aim of the others (a deviation from the paper).

    Args:
        vectors: `[N, K, D]`.
        category: `[N]` int64.
        real: Which rows are meant `[N]` bool; all if None. With it, nothing is asked of a device: there are as many
            categories as there can be, and as many products of vectors as rows.
        num_categories: There are no more, if that is known.

    Returns:
        A scalar; 0 if there is one category, or no row.

    Reference: Yu et al., "A Dual Augmented Two-tower Model for Online Large-scale Recommendation", DLP-KDD 2021, eq. 5.
    """
    if not vectors.shape[0]:
        return vectors.sum()
    if real is None:
        _, group = torch.unique(category, return_inverse=True)
        counts = torch.bincount(group).to(vectors.dtype)
    else:
        group, counts = _groups(category, real, num_categories)
        counts = counts.to(vectors.dtype)
    sums = vectors.new_zeros((counts.shape[0], *vectors.shape[1:])).index_add(0, group, vectors)
    centred = vectors - (sums / counts.clamp(min=1).view(-1, 1, 1)).index_select(0, group)
    products = centred.unsqueeze(3) * centred.unsqueeze(2)
    scatter = vectors.new_zeros((counts.shape[0], *products.shape[1:])).index_add(0, group, products)
    covariance = scatter / (counts - 1).clamp(min=1).view(-1, 1, 1, 1)
    major = covariance.index_select(0, counts.argmax(0, keepdim=True)).detach()
    distance = (covariance - major).square().sum((2, 3)).mean(1)
    return (distance * (counts > 1)).sum()


def _groups(category: Tensor, real: Tensor, num_categories: int | None) -> tuple[Tensor, Tensor]:
    """Numbers the categories in rising order `[N]`, one more of what is not real, and counts their rows `[C + 1]`."""
    size = category.shape[0] if num_categories is None else min(num_categories, category.shape[0])
    ordered, order = torch.where(real, category, torch.iinfo(category.dtype).max).sort()
    number = torch.zeros_like(order)
    number[1:] = (ordered[1:] != ordered[:-1]).cumsum(0)
    group = torch.where(real, torch.empty_like(number).index_copy_(0, order, number), size)
    counts = torch.zeros(size + 1, dtype=torch.int64, device=group.device)
    return group, counts.scatter_add_(0, group, real.long())
