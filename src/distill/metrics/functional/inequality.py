"""How evenly something is spread."""

from __future__ import annotations

import torch
from torch import Tensor

from distill.metrics.functional.reduce import total


def gini(amounts: Tensor) -> Tensor:
    """Gini coefficient of non-negative amounts: 0 if all are equal, near 1 if one has everything.

    G = Σ_i (2i − n − 1) x_(i) / (n Σ_i x_i), with x_(1) ≤ … ≤ x_(n).

    Args:
        amounts: `[n]`.

    Returns:
        Scalar float64; NaN when there is none or all are 0.

    Reference:
        Gini, Variabilità e mutabilità, 1912; of what a recommender passes on as in Fleder and Hosanagar, Management
        Science 2009.

    >>> gini(torch.tensor([1, 1, 1, 1])).item(), gini(torch.tensor([0, 0, 0, 4])).item()
    (0.0, 0.75)
    """
    ascending = amounts.to(torch.float64).sort().values
    n = ascending.numel()
    place = torch.arange(1, n + 1, dtype=torch.float64, device=amounts.device)
    return total((2 * place - n - 1) * ascending) / (n * total(ascending))
