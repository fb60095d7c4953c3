"""Softmax of one view of an item among the other views of all items."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from distill.losses.functional.chunks import by_rows

_LEAST_NORM = 1e-6


def info_nce(first: Tensor, second: Tensor, temperature: float, real: Tensor | None = None) -> Tensor:
    """Computes ``-log softmax_j(cos(a_i, b_j) / τ)_i`` over the second views of all items.

    Gradient path: to both views. Some rows are computed at a time: the memory grows with N.

    Args:
        first: Vectors a of the items' first views `[N, D]`.
        second: Vectors b of their second views `[N, D]`.
        temperature: τ > 0.
        real: Which rows are items `[N]` bool, the others no negatives of any; all if None.

    Returns:
        `[N]`; 0 for an item alone, log N if all vectors are equal.

    Reference:
        Yao et al., "Self-supervised Learning for Large-scale Item Recommendations", CIKM 2021, arXiv:2007.12865,
        section 3.
    """
    a, b = (functional.normalize(vectors, dim=1, eps=_LEAST_NORM) for vectors in (first, second))
    rows = torch.arange(a.shape[0], device=a.device)

    def values(own: Tensor, vectors: Tensor) -> Tensor:
        scores, column = (vectors / temperature) @ b.T, own.unsqueeze(1)
        if real is not None:
            scores = scores.masked_fill((~real).expand_as(scores).scatter(1, column, False), -torch.inf)
        return -scores.log_softmax(dim=1).gather(1, column).squeeze(1)

    return by_rows(values, (rows, a), elements=b.shape[0])
