"""Search in a long sequence: for each candidate the few values that attention is to look at."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from distill.layers.ragged import Pairs, SequenceSizes, pair_with_values, present_values
from distill.ops.segment import segment_rank, segment_sum

_BLOCK = 1 << 18  # pairs whose products are in memory at a time
_NOTHING = float("-inf")


class Keys(NamedTuple):
    """What hard search compares: a key of each value of the sequences, and of each candidate.

    Attributes:
        values: Of all sequences, one after another `[sum(lengths)]` int64, or padded `[R, L']`.
        lengths: Of the sequences of keys `[R]` int64; a value beyond the end of its keys has none.
        candidates: `[N]` int64; a negative key is equal to none.
    """

    values: Tensor
    lengths: Tensor
    candidates: Tensor


class Found(NamedTuple):
    """A short sequence of each candidate.

    Attributes:
        values: One after another `[sum(lengths), D]`, or padded `[N, top_k, D]`.
        lengths: `[N]` int64, at most `top_k`.
    """

    values: Tensor
    lengths: Tensor


def best_values(
    query: Tensor, values: Tensor, lengths: Tensor, request_index: Tensor, top_k: int, keys: Keys | None
) -> Found:
    """Finds the `top_k` values of a candidate's sequence that matter most to it.

    Soft search takes those with the largest inner product with the candidate's vector, hard search the newest of those
    that have its key. Which values are found has no gradient; the values have.

    Args:
        query: Vectors of the candidates `[N, D]`.
        values: Of all sequences, oldest first, one after another `[sum(lengths), D]`, or padded `[R, L, D]`.
        lengths: `[R]` int64.
        request_index: Request of each candidate `[N]` int64.
        top_k: Most values of a candidate.
        keys: For hard search; None for soft search.

    Reference: Pi et al., "Search-based User Interest Modeling with Lifelong Sequential Behavior Data", 2020,
    arXiv:2006.05639, section 3.2 (general search unit, hard and soft); the inner product of the embeddings that the
    attention reads too, after ETA, arXiv:2108.04468, which estimates it by hashes, and TWIN, arXiv:2302.02352.
    """
    if values.dim() == 3:
        return _of_padded(query, values, lengths, request_index, top_k, keys)
    pairs = pair_with_values(lengths, request_index)
    num_candidates = query.shape[0]
    score = _scores(query, values, request_index, pairs, keys)
    kept = (segment_rank(score, pairs.candidate, num_candidates) < top_k) & (score > _NOTHING)
    counts = segment_sum(kept.to(lengths.dtype), pairs.candidate, num_candidates)
    return Found(values.index_select(0, pairs.value[kept]), counts)


def best_pairs(
    query: Tensor,
    values: Tensor,
    lengths: Tensor,
    request_index: Tensor,
    top_k: int,
    keys: Keys | None,
    sizes: SequenceSizes,
) -> Pairs:
    """Finds what `best_values` finds, as `top_k` pairs of each candidate, where the host may not look at how many
    there are but knows the sizes of the sequences."""
    pairs = pair_with_values(lengths, request_index, sizes.pairs if values.shape[0] else 0)
    if not values.shape[0]:
        return pairs
    num_candidates, device = query.shape[0], values.device
    most = top_k if sizes.longest is None else min(top_k, max(sizes.longest, 1))
    score = _scores(query, values, request_index, pairs, keys)
    if pairs.real is not None:
        score = score.masked_fill(~pairs.real, _NOTHING)
    rank = segment_rank(score, pairs.candidate, num_candidates)
    kept = (rank < most) & (score > _NOTHING)
    there = torch.where(kept, pairs.candidate * most + rank, num_candidates * most)
    value = torch.zeros(num_candidates * most + 1, dtype=torch.int64, device=device).scatter_(0, there, pairs.value)
    real = torch.zeros_like(value, dtype=torch.bool).scatter_(0, there, True)
    starts = torch.arange(num_candidates, device=device)
    return Pairs(starts.repeat_interleave(most), value[:-1], starts * most, real[:-1])


@torch.no_grad()
def _scores(query: Tensor, values: Tensor, request_index: Tensor, pairs: Pairs, keys: Keys | None) -> Tensor:
    """Scores each pair `[P]`: what matters more is greater."""
    if keys is None:
        blocks = zip(torch.split(pairs.candidate, _BLOCK), torch.split(pairs.value, _BLOCK), strict=True)
        products = [(query.index_select(0, c) * values.index_select(0, v)).float().sum(1) for c, v in blocks]
        return torch.cat(products) if products else values.new_zeros(0)
    place = torch.arange(pairs.candidate.shape[0], device=values.device)
    place = place - pairs.starts.index_select(0, pairs.candidate)
    request = request_index.index_select(0, pairs.candidate)
    starts = (keys.lengths.cumsum(0) - keys.lengths).index_select(0, request)
    has_key = place < keys.lengths.index_select(0, request)
    rows = torch.where(has_key, starts + place, keys.values.shape[0])
    of_value = torch.cat([keys.values, keys.values.new_full((1,), -1)]).index_select(0, rows)
    return _newest(of_value, keys.candidates.index_select(0, pairs.candidate), place)


def _of_padded(
    query: Tensor, values: Tensor, lengths: Tensor, request_index: Tensor, top_k: int, keys: Keys | None
) -> Found:
    longest, own_index = values.shape[1], torch.arange(values.shape[1], device=values.device)
    if keys is None:
        score = (values.index_select(0, request_index) @ query.unsqueeze(2)).squeeze(2).float()
    else:
        padded = torch.nn.functional.pad(keys.values, (0, 1), value=-1)
        place = own_index.clamp(max=keys.values.shape[1])
        has_key = own_index < keys.lengths.unsqueeze(1)
        of_value = torch.where(has_key, padded.index_select(1, place), -1).index_select(0, request_index)
        score = _newest(of_value, keys.candidates.unsqueeze(1), own_index.expand_as(of_value))
    present = present_values(values, lengths).index_select(0, request_index)
    score = torch.nn.functional.pad(score.masked_fill(~present, _NOTHING), (0, top_k), value=_NOTHING)
    best, place = score.topk(top_k, dim=1)
    longer = torch.nn.functional.pad(values, (0, 0, 0, top_k))
    rows = request_index.unsqueeze(1) * (longest + top_k) + place
    found = longer.flatten(0, 1).index_select(0, rows.flatten())
    return Found(torch.unflatten(found, 0, (-1, top_k)), (best > _NOTHING).to(lengths.dtype).sum(1))


def _newest(of_value: Tensor, of_candidate: Tensor, place: Tensor) -> Tensor:
    """Scores values by their place where their key is the candidate's."""
    same = (of_value == of_candidate) & (of_value >= 0)
    return torch.where(same, place.to(torch.float32), _NOTHING)
