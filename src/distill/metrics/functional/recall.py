"""Recall of the relevant candidates of a request in its top-k."""

from __future__ import annotations

from distill.metrics.functional.reduce import PerRequest, sum_of_each
from distill.metrics.functional.ties import TiedRanks
from distill.metrics.functional.topk import membership


def recall_per_request(relevant: TiedRanks, k: int) -> PerRequest:
    """Recall@k of each request, expected under random breaking of ties.

    Recall@k = TP / min(TP + FN, k) = Σ_{i relevant} P(i in top-k) / min(relevant, k), so 1 can be reached whatever k.
    A request with no more than k candidates has recall 1 by definition.

    Args:
        relevant: Ranks, among all candidates of R requests, of those that are relevant.
        k: Cut-off.

    Returns:
        `[R]` values; requests without a relevant candidate are not used.

    Raises:
        ConfigError: If `k` is not positive.
    """
    hits = sum_of_each(membership(relevant, k), relevant.index, relevant.num_requests)
    positives = relevant.request_size()
    return PerRequest.of(hits / positives.clamp(max=k), positives > 0)


def hit_rate_per_request(relevant: TiedRanks, k: int) -> PerRequest:
    """Share of the relevant candidates of each request in its top-k, expected under random breaking of ties.

    HR@k = Σ_{i relevant} P(i in top-k) / relevant; unlike Recall@k it cannot reach 1 with more than k relevant ones.

    Args:
        relevant: Ranks, among all candidates of R requests, of those that are relevant.
        k: Cut-off.

    Returns:
        `[R]` values; requests without a relevant candidate are not used.

    Raises:
        ConfigError: If `k` is not positive.

    Reference:
        Zhang et al., Rethinking the Role of Pre-ranking in Large-scale E-Commerce Searching System, 2023,
        arXiv:2305.13647 (ASH@k: relevant = the user's positives from any scene).
    """
    hits = sum_of_each(membership(relevant, k), relevant.index, relevant.num_requests)
    positives = relevant.request_size()
    return PerRequest.of(hits / positives, positives > 0)
