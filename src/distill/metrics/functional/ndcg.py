"""Normalised discounted cumulative gain."""

from __future__ import annotations

import torch
from torch import Tensor

from distill.errors import DataError
from distill.metrics.functional.checks import require_cutoff
from distill.metrics.functional.reduce import PerRequest, sum_of_each
from distill.metrics.functional.ties import TiedRanks, tied_ranks
from distill.ops.grades import MAX_GRADE, are_grades, gains

MAX_LABEL = MAX_GRADE


def _expected_discount(ranks: TiedRanks, k: int) -> Tensor:
    """Mean of 1/log2(1 + rank) over the ranks a candidate may take `[N]`; ranks beyond k discount to 0."""
    k = min(k, int((ranks.better + ranks.tied).max())) if ranks.tied.numel() else 1
    rank = torch.arange(1, k + 1, dtype=torch.float64, device=ranks.index.device)
    upto = torch.cat([rank.new_zeros(1), (1 / torch.log2(1 + rank)).cumsum(0)])
    first = ranks.better.clamp(max=k)
    stop = (ranks.better + ranks.tied).clamp(max=k)
    return (upto.index_select(0, stop) - upto.index_select(0, first)) / ranks.tied


def ndcg_per_request(ranks: TiedRanks, labels: Tensor, k: int) -> PerRequest:
    """NDCG@k of each request, expected under random breaking of ties.

    DCG@k = Σ_{rank ≤ k} (2^y − 1) / log2(1 + rank); NDCG@k = DCG@k / IDCG@k with IDCG@k that of the order by label.

    Args:
        ranks: Ranks of N candidates in R requests.
        labels: `[N]` in [0, 50]: 0/1 or graded.
        k: Cut-off.

    Returns:
        `[R]` values; requests with IDCG 0 are not used.

    Raises:
        ConfigError: If `k` is not positive.
        DataError: If a label is outside its range.

    Reference:
        Järvelin and Kekäläinen, Cumulated gain-based evaluation of IR techniques, 2002; exponential gains after Burges
        et al., Learning to rank using gradient descent, 2005; ties after McSherry and Najork, 2008.
    """
    require_cutoff(k)
    if not bool(are_grades(labels).all()):
        raise DataError(
            "NDCG was given labels that are not grades.",
            expected=f"labels in [0, {MAX_LABEL}], since gains are 2^y − 1",
            found=f"values from {float(labels.min())} to {float(labels.max())}",
            remedy="Use NDCG for tasks of kind `binary` or `graded` only.",
        )
    (some,) = (labels > 0).nonzero(as_tuple=True)  # the others gain nothing and come last in the ideal order
    ranks, labels = ranks.select(some), labels.index_select(0, some)
    index, num_requests = ranks.index, ranks.num_requests
    ideal = tied_ranks(labels, index, num_requests)
    gain = gains(labels.to(torch.float64))
    dcg = sum_of_each(gain * _expected_discount(ranks, k), index, num_requests)
    best = sum_of_each(gain * _expected_discount(ideal, k), index, num_requests)
    return PerRequest.of(dcg / best, best > 0)
