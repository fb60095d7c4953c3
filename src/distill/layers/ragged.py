"""Sequences of requests seen from their candidates, without padding.

`values [L, D]` holds the sequences of R requests one after another, `lengths [R]` their lengths (L their sum), and
`request_index [N]` the request of each candidate, in any order. Exported models have them padded, `values [R, L, D]`.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from distill.ops.waiting import can_look


class Pairs(NamedTuple):
    """Every candidate beside every value of its request's sequence, candidate by candidate.

    Attributes:
        candidate: Candidate of each pair `[P]` int64.
        value: Row of the pair in `values` `[P]` int64.
        starts: First pair of each candidate `[N]` int64.
        real: Which are pairs `[P]` bool; others belong to the candidate that they stand by, and to any value. None if
            all are.
    """

    candidate: Tensor
    value: Tensor
    starts: Tensor
    real: Tensor | None = None


class SequenceSizes(NamedTuple):
    """What the host knows of the sequences of a batch.

    Attributes:
        longest: No sequence is longer; None if that is not known.
        pairs: There are no more pairs of a candidate and a value of its request; None if that is not known.
    """

    longest: int | None = None
    pairs: int | None = None


def pair_with_values(lengths: Tensor, request_index: Tensor, most: int | None = None) -> Pairs:
    """Lists the pairs of candidates and values.

    Args:
        lengths: `[R]` int64.
        request_index: `[N]` int64.
        most: There are no more pairs; used where the host may not look how many there are, with padding behind them.
    """
    counts = lengths.index_select(0, request_index)
    if most is not None and not can_look(lengths):
        return _at_most(lengths, request_index, counts, most)
    candidate = torch.repeat_interleave(torch.arange(counts.shape[0], device=counts.device), counts)
    starts = (lengths.cumsum(0) - lengths).index_select(0, request_index) - (counts.cumsum(0) - counts)
    place = torch.arange(candidate.shape[0], device=counts.device)
    return Pairs(candidate, place + starts.index_select(0, candidate), counts.cumsum(0) - counts)


def _at_most(lengths: Tensor, request_index: Tensor, counts: Tensor, most: int) -> Pairs:
    num_candidates, ends = counts.shape[0], counts.cumsum(0)
    place = torch.arange(most if num_candidates else 0, device=counts.device)
    candidate = torch.searchsorted(ends, place, right=True).clamp(max=num_candidates - 1)
    real, starts = place < ends[-1:], ends - counts
    shift = (lengths.cumsum(0) - lengths).index_select(0, request_index) - starts
    return Pairs(candidate, torch.where(real, place + shift.index_select(0, candidate), 0), starts, real)


def present_values(values: Tensor, lengths: Tensor) -> Tensor:
    """Tells the values of padded sequences from padding.

    Args:
        values: `[B, L, D]`.
        lengths: `[B]` int64.

    Returns:
        `[B, L]` bool.
    """
    return torch.arange(values.shape[1], device=values.device) < lengths.unsqueeze(1)


def padded_mean(values: Tensor, lengths: Tensor) -> Tensor:
    """Averages padded sequences `[B, L, D]` of `lengths [B]`; returns `[B, D]`, 0 for an empty sequence."""
    kept = present_values(values, lengths).unsqueeze(2).to(values.dtype)
    return (values * kept).sum(1) / lengths.clamp(min=1).unsqueeze(1)


def pad_values(values: Tensor, lengths: Tensor, longest: int | None) -> tuple[Tensor, bool]:
    """Pads sequences with zeros to the longest one.

    Args:
        values: Of all sequences `[sum(lengths), D]`.
        lengths: `[B]` int64.
        longest: No sequence is longer; the greatest length if None, for which the device is waited for.

    Returns:
        `[B, L, D]`, and whether there was nothing to pad.
    """
    batch, width = lengths.shape[0], values.shape[1]
    if longest is None:
        longest = int(lengths.max()) if batch else 1
    longest = max(longest, 1)
    if values.shape[0] == batch * longest:
        return values.view(batch, longest, width), True
    if not values.shape[0]:
        return values.new_zeros((batch, longest, width)), False
    place = torch.arange(longest, device=values.device)
    present = place < lengths.unsqueeze(1)
    # By gathering: the gradient of a masked_scatter would look for what it scattered.
    row = torch.where(present, (lengths.cumsum(0) - lengths).unsqueeze(1) + place, 0)
    gathered = values.index_select(0, row.flatten()).view(batch, longest, width)
    return torch.where(present.unsqueeze(2), gathered, 0.0), False


def append_target(values: Tensor, lengths: Tensor, request_index: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Gives each candidate a sequence of its own: that of its request, and itself as the newest value.

    Args:
        values: `[L, D]`, oldest first, or padded `[R, L, D]`.
        lengths: `[R]` int64.
        request_index: `[N]` int64.
        target: `[N, D]`.

    Returns:
        Values `[P + N, D]` and lengths `[N]` of N sequences; padded `[N, L + 1, D]` if they were.
    """
    if values.dim() == 3:
        return _append_to_padded(values, lengths, request_index, target)
    pairs = pair_with_values(lengths, request_index)
    counts = lengths.index_select(0, request_index)
    ends = (counts + 1).cumsum(0) - 1
    num_pairs = pairs.value.shape[0]
    order = torch.empty(num_pairs + ends.shape[0], dtype=torch.int64, device=values.device)
    # A pair stands behind the targets of all candidates before its own.
    order[torch.arange(num_pairs, device=values.device) + pairs.candidate] = pairs.value
    order[ends] = torch.arange(ends.shape[0], device=values.device) + values.shape[0]
    return torch.cat([values, target]).index_select(0, order), counts + 1


def _append_to_padded(values: Tensor, lengths: Tensor, request_index: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    counts = lengths.index_select(0, request_index)
    own = values.index_select(0, request_index)
    longer = torch.cat([own, target.unsqueeze(1)], dim=1)
    is_target = torch.arange(longer.shape[1], device=values.device) == counts.unsqueeze(1)
    return torch.where(is_target.unsqueeze(2), target.unsqueeze(1), longer), counts + 1
