"""Sequences of requests seen from their candidates, without padding.

`values [L, D]` holds the sequences of R requests one after another, `lengths [R]` their lengths (L their sum), and
`request_index [N]` the request of each candidate, in any order.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Pairs(NamedTuple):
    """Every candidate beside every value of its request's sequence, candidate by candidate.

    Attributes:
        candidate: Candidate of each pair `[P]` int64.
        value: Row of the pair in `values` `[P]` int64.
        counts: Pairs of each candidate `[N]` int64.
    """

    candidate: Tensor
    value: Tensor
    counts: Tensor


def pair_with_values(lengths: Tensor, request_index: Tensor) -> Pairs:
    """Lists the pairs of candidates and values.

    Args:
        lengths: `[R]` int64.
        request_index: `[N]` int64.
    """
    counts = lengths.index_select(0, request_index)
    candidate = torch.repeat_interleave(torch.arange(counts.shape[0], device=counts.device), counts)
    starts = (lengths.cumsum(0) - lengths).index_select(0, request_index) - (counts.cumsum(0) - counts)
    place = torch.arange(candidate.shape[0], device=counts.device)
    return Pairs(candidate, place + starts.index_select(0, candidate), counts)


def append_target(values: Tensor, lengths: Tensor, request_index: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Gives each candidate a sequence of its own: that of its request, and itself as the newest value.

    Args:
        values: `[L, D]`, oldest first.
        lengths: `[R]` int64.
        request_index: `[N]` int64.
        target: `[N, D]`.

    Returns:
        Values `[P + N, D]` and lengths `[N]` of N sequences.
    """
    pairs = pair_with_values(lengths, request_index)
    ends = (pairs.counts + 1).cumsum(0) - 1
    num_pairs = pairs.value.shape[0]
    order = torch.empty(num_pairs + ends.shape[0], dtype=torch.int64, device=values.device)
    # A pair stands behind the targets of all candidates before its own.
    order[torch.arange(num_pairs, device=values.device) + pairs.candidate] = pairs.value
    order[ends] = torch.arange(ends.shape[0], device=values.device) + values.shape[0]
    return torch.cat([values, target]).index_select(0, order), pairs.counts + 1
