"""Membership of the top-k when ties are broken at random."""

from __future__ import annotations

import torch
from torch import Tensor

from distill.metrics.functional.checks import require_cutoff
from distill.metrics.functional.ties import TiedRanks, tied_ranks


def membership(ranks: TiedRanks, k: int) -> Tensor:
    """Probability of each candidate to be among the k best of its request.

    P(i) = clamp((k − better_i) / tied_i, 0, 1). The probabilities of a request sum to min(k, its size).

    Args:
        ranks: Ranks of N candidates.
        k: Cut-off.

    Returns:
        `[N]` float64.

    Raises:
        ConfigError: If `k` is not positive.

    Reference:
        McSherry and Najork, Computing Information Retrieval Performance Measures Efficiently in the Presence of Tied
        Scores, ECIR 2008.
    """
    require_cutoff(k)
    return ((k - ranks.better).to(torch.float64) / ranks.tied).clamp(0, 1)


def topk_membership(scores: Tensor, index: Tensor, num_requests: int, k: int) -> Tensor:
    """Probability of each candidate to be among the k best of its request by score, ties broken at random.

    Args:
        scores: `[N]`.
        index: `[N]` int64, sorted, in `0..R-1`.
        num_requests: R.
        k: Cut-off.

    Returns:
        `[N]` float64; see `membership`, which takes ranks that are already there.

    >>> topk_membership(torch.tensor([3.0, 1.0, 1.0]), torch.tensor([0, 0, 0]), num_requests=1, k=2).tolist()
    [1.0, 0.5, 0.5]
    """
    return membership(tied_ranks(scores, index, num_requests), k)
