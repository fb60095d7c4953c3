"""Mutual information of discrete columns."""

from __future__ import annotations

import torch
from torch import Tensor


def mutual_information(codes: Tensor) -> Tensor:
    """Computes ``I(a, b) = Σ p(a, b) log p(a, b) / (p(a) p(b))`` of each pair of columns, from their counts.

    It is H(a) + H(b) − H(a, b), in nats, and the entropy of a column with itself. Counts of few rows overstate it for
    columns with many values: a column without any value twice tells all of every other.

    Args:
        codes: `[M, F]` int64.

    Returns:
        `[F, F]` float64, symmetric, at least 0.
    """
    columns, sizes = [], []
    for column in codes.unbind(1):
        values, compact = torch.unique(column, return_inverse=True)
        columns.append(compact)
        sizes.append(values.shape[0])
    entropies = [_entropy(column) for column in columns]
    found = torch.zeros(len(columns), len(columns), dtype=torch.float64)
    for a, first in enumerate(columns):
        found[a, a] = entropies[a]
        for b in range(a + 1, len(columns)):
            joint = _entropy(first * sizes[b] + columns[b])
            found[a, b] = found[b, a] = (entropies[a] + entropies[b] - joint).clamp(min=0)
    return found


def _entropy(codes: Tensor) -> Tensor:
    """Entropy of `codes [M]` in nats; 0 without rows."""
    _, counts = torch.unique(codes, return_counts=True)
    p = counts.double() / max(codes.shape[0], 1)
    entropy: Tensor = -(p * p.log()).sum()
    return entropy
