"""Reciprocal rank and average precision of the relevant candidates of a request."""

from __future__ import annotations

import torch
from torch import Tensor

from distill.metrics.functional.checks import require_cutoff
from distill.metrics.functional.reduce import PerRequest
from distill.metrics.functional.ties import TiedRanks
from distill.ops.segment import segment_count, segment_start, segment_sum


def reciprocal_rank_per_request(relevant: TiedRanks, k: int) -> PerRequest:
    """Reciprocal rank of the first relevant candidate of each request, expected under random breaking of ties.

    RR@k = 1 / rank of the first relevant candidate (1 is the best), 0 if that rank is beyond k. Only the best tie that
    holds a relevant candidate counts. With b candidates before it, t in it and p of them relevant, the first relevant
    one is the j-th of the tie with probability C(t − j, p − 1) / C(t, p).

    Args:
        relevant: Ranks, among all candidates of R requests, of those that are relevant.
        k: Cut-off.

    Returns:
        `[R]` values; requests without a relevant candidate are not used.

    Raises:
        ConfigError: If `k` is not positive.

    Reference:
        Voorhees, The TREC-8 Question Answering Track Report, 1999; ties after McSherry and Najork, 2008.
    """
    require_cutoff(k)
    index, num_requests = relevant.index, relevant.num_requests
    nobody = torch.iinfo(torch.int64).max
    best = torch.full((num_requests,), nobody, dtype=torch.int64, device=index.device)
    best = best.scatter_reduce(0, index, relevant.better, "amin")
    (first,) = (relevant.better == best.index_select(0, index)).nonzero(as_tuple=True)
    first_index, found = index.index_select(0, first), best < nobody
    among = segment_count(first_index, num_requests)
    tied = torch.zeros_like(among).scatter_(0, first_index, relevant.tied.index_select(0, first))
    before = torch.where(found, best, 0)
    places = torch.where(found, torch.minimum(tied - among + 1, k - before), 0).clamp(min=0)
    request = torch.repeat_interleave(torch.arange(num_requests, device=index.device), places)
    place = torch.arange(request.numel(), device=index.device) - segment_start(request, num_requests)[request] + 1
    t, p = tied.index_select(0, request), among.index_select(0, request)
    chance = (_log_choose(t - place, p - 1) - _log_choose(t, p)).exp()
    value = segment_sum(chance / (before.index_select(0, request) + place), request, num_requests)
    return PerRequest.of(value, found)


def average_precision_per_request(relevant: TiedRanks, k: int) -> PerRequest:
    """Average precision of each request, expected under random breaking of ties.

    AP@k = Σ_{i relevant, rank_i ≤ k} precision@rank_i / min(relevant, k), so 1 can be reached whatever k; with k from
    the length of the request on it is the average precision of TREC.

    A relevant candidate has b candidates before its tie, r of them relevant, and is one of p relevant ones among t that
    are tied. At the j-th place of the tie it has 1 + r + (j − 1)(p − 1)/(t − 1) relevant ones up to it, on average.

    Args:
        relevant: Ranks, among all candidates of R requests, of those that are relevant.
        k: Cut-off.

    Returns:
        `[R]` values; requests without a relevant candidate are not used.

    Raises:
        ConfigError: If `k` is not positive.

    Reference:
        Manning et al., Introduction to Information Retrieval, 2008, section 8.4; ties after McSherry and Najork, 2008.
    """
    require_cutoff(k)
    index, num_requests = relevant.index, relevant.num_requests
    better, tied = relevant.better, relevant.tied
    ahead, among = _relevant_around(relevant)
    stop = torch.minimum(better + tied, torch.full_like(better, k)).maximum(better)
    rank = torch.arange(1, int(stop.max()) + 1 if stop.numel() else 1, dtype=torch.float64, device=index.device)
    harmonic = torch.cat([rank.new_zeros(1), (1 / rank).cumsum(0)])
    inverse = harmonic.index_select(0, stop) - harmonic.index_select(0, better)  # Σ_j 1 / (b + j)
    growth = (stop - better) - (better + 1) * inverse  # Σ_j (j − 1) / (b + j)
    share = (among - 1) / (tied - 1).clamp(min=1)
    precision = ((ahead + 1) * inverse + share * growth) / tied
    positives = relevant.request_size()
    value = segment_sum(precision, index, num_requests) / positives.clamp(max=k)
    return PerRequest.of(value, positives > 0)


def _relevant_around(relevant: TiedRanks) -> tuple[Tensor, Tensor]:
    """For each relevant candidate: relevant ones with a better score, and in its tie with itself; both `[M]` int64."""
    index = relevant.index
    width = int(relevant.better.max()) + 1 if index.numel() else 1
    key = index * width + relevant.better
    ties, place, counts = torch.unique(key, return_inverse=True, return_counts=True)
    start = torch.searchsorted(ties, index * width)
    upto = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
    ahead = upto.index_select(0, place) - upto.index_select(0, start)
    return ahead, counts.index_select(0, place)


def _log_choose(n: Tensor, k: Tensor) -> Tensor:
    """log C(n, k) in float64, for integers 0 ≤ k ≤ n."""
    n, k = n.to(torch.float64), k.to(torch.float64)
    return torch.lgamma(n + 1) - torch.lgamma(k + 1) - torch.lgamma(n - k + 1)
