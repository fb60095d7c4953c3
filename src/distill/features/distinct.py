"""Finds equal rows of a block, so that each is encoded once."""

from __future__ import annotations

import torch
from torch import Tensor

from distill.batch import FeatureBlock, Ragged

# Odd 64-bit constants (of splitmix64 and of Fibonacci hashing) as signed numbers.
_MULTIPLIER = -0x61C8864680B583EB
_MIX = -0x40A7B892E31B1A47


def distinct_rows(block: FeatureBlock) -> tuple[FeatureBlock, Tensor]:
    """Returns each different row of a block once, and where each row went.

    Rows are told apart by a 64-bit hash of all that they hold; that two of 4,096 different rows share one has a chance
    of less than 10⁻¹².

    Args:
        block: B rows.

    Returns:
        The block of D ≤ B rows in the order of their hashes, and the row of it that each row equals `[B]`.
    """
    keys, where = torch.unique(_row_hash(block), return_inverse=True)
    first = torch.empty_like(keys)
    # The last of equal rows is taken on CPU, any of them on a GPU: they are equal.
    first.index_copy_(0, where, torch.arange(block.num_rows, device=where.device))
    return block.select(first), where


def _row_hash(block: FeatureBlock) -> Tensor:
    parts = [block.ids]
    if block.numbers.shape[1]:
        parts.append(block.numbers.float().contiguous().view(torch.int32).long())
    parts.extend(v.float().contiguous().view(torch.int32).long() for v in block.vectors.values())
    parts.extend(_sequence_hash(ragged).unsqueeze(1) for ragged in block.sequences.values())
    columns = torch.cat(parts, dim=1)
    weights = _odd_weights(columns.shape[1], columns.device)
    return (_mixed(columns) * weights).sum(1)


def _sequence_hash(ragged: Ragged) -> Tensor:
    lengths, device = ragged.lengths, ragged.values.device
    starts = lengths.cumsum(0) - lengths
    row = torch.repeat_interleave(torch.arange(lengths.shape[0], device=device), lengths)
    place = torch.arange(ragged.values.shape[0], device=device) - starts.index_select(0, row)
    values = _mixed(_mixed(ragged.values) + place * _MULTIPLIER)
    return lengths.clone().index_add_(0, row, values)


def _mixed(x: Tensor) -> Tensor:
    """Spreads each number over all 64 bits."""
    x = (x + 1) * _MULTIPLIER
    x = (x ^ (x >> 32)) * _MIX
    return x ^ (x >> 29)


def _odd_weights(count: int, device: torch.device) -> Tensor:
    """A different odd number for each column."""
    return _mixed(torch.arange(1, count + 1, device=device)) | 1
