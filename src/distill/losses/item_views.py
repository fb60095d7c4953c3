"""Views of items that lack some of their fields.

Fields of a block are numbered: ids, numbers, vectors, sequences, each in the order of the block.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from distill.batch import FeatureBlock, Ragged
from distill.ops.information import mutual_information
from distill.ops.random import hashed_uniform
from distill.ops.segment import segment_sum

_BUCKETS = 16
_DIRECTIONS = 4
_MOST_ROWS = 131_072
_DECIMALS = 9  # so that rounding does not decide between equally correlated fields
_STRIDE = 0x9E3779B97F4A7C15 - (1 << 64)


def num_fields(block: FeatureBlock) -> int:
    """Counts the fields of a block."""
    return block.ids.shape[1] + block.numbers.shape[1] + len(block.vectors) + len(block.sequences)


def correlated_halves(block: FeatureBlock) -> Tensor:
    """Finds which half of the fields goes with each field: itself and those with most mutual information with it.

    Args:
        block: Items, M rows; at most 131,072 of them, evenly spread, are counted.

    Returns:
        `[F, F]` bool: row f has F // 2 fields, f among them.
    """
    if block.num_rows > _MOST_ROWS:
        block = block.select(torch.arange(_MOST_ROWS) * block.num_rows // _MOST_ROWS)
    information = mutual_information(field_codes(block)).round(decimals=_DECIMALS)
    information.fill_diagonal_(torch.inf)
    count = information.shape[0]
    nearest = information.argsort(dim=1, descending=True, stable=True)[:, : count // 2]
    return torch.zeros(count, count, dtype=torch.bool).scatter(1, nearest, True)


def field_codes(block: FeatureBlock) -> Tensor:
    """Turns every field into a discrete one, for counting `[M, F]` int64.

    Numbers become one of 16 quantile buckets, vectors the sides of 4 fixed random planes through their mean that they
    are on, sequences the value with the least hash, which two sequences share with the probability |A ∩ B| / |A ∪ B|.
    """
    columns = [*block.ids.unbind(1), *(_bucket(column) for column in block.numbers.unbind(1))]
    columns += [_side(vector) for vector in block.vectors.values()]
    columns += [_least_hash(ragged) for ragged in block.sequences.values()]
    return torch.stack([column.long() for column in columns], dim=1)


def _bucket(values: Tensor) -> Tensor:
    if not values.shape[0]:
        return values.long()
    inner = torch.arange(1, _BUCKETS, dtype=torch.float64) / _BUCKETS
    edges = torch.unique(torch.quantile(values.double(), inner))
    return torch.searchsorted(edges, values.double())


def _side(vectors: Tensor) -> Tensor:
    planes = torch.randn(vectors.shape[1], _DIRECTIONS, generator=torch.Generator().manual_seed(0))
    sides = (vectors - vectors.mean(0)) @ planes > 0
    return (sides.long() << torch.arange(_DIRECTIONS)).sum(1)


def _least_hash(ragged: Ragged) -> Tensor:
    """The value of each sequence whose hash is the least `[M]`; −1 for an empty one."""
    rows = ragged.lengths.shape[0]
    row = torch.repeat_interleave(torch.arange(rows), ragged.lengths)
    draw = hashed_uniform(ragged.values, 0)
    least = draw.new_full((rows,), 2.0).scatter_reduce(0, row, draw, "amin")
    is_least = draw == least.index_select(0, row)
    found = torch.full((rows,), -1)
    return found.scatter_reduce(0, row[is_least], ragged.values[is_least], "amax")


def without_fields(block: FeatureBlock, lost: Sequence[bool], missing: FeatureBlock) -> FeatureBlock:
    """Returns a block in which some fields are missing on every row.

    Args:
        block: B rows.
        lost: Whether each of the F fields is to be missing.
        missing: One row of missing values.
    """
    ids, numbers = block.ids.shape[1], block.numbers.shape[1]
    masked = torch.tensor(lost, dtype=torch.bool, device=block.ids.device)
    named = dict(zip([*block.vectors, *block.sequences], lost[ids + numbers :], strict=True))
    return FeatureBlock(
        ids=torch.where(masked[:ids], missing.ids, block.ids),
        numbers=torch.where(masked[ids : ids + numbers], missing.numbers, block.numbers),
        vectors={
            name: missing.vectors[name].expand_as(value) if named[name] else value
            for name, value in block.vectors.items()
        },
        sequences={
            name: Ragged(value.values[:0], torch.zeros_like(value.lengths)) if named[name] else value
            for name, value in block.sequences.items()
        },
    )


def with_dropout(
    block: FeatureBlock, missing: FeatureBlock, rate: float, id_rate: float, keys: Tensor, salts: Sequence[int | Tensor]
) -> FeatureBlock:
    """Returns a block that lacks random values of its sequences, and random ids.

    Args:
        block: B rows.
        missing: One row of missing values.
        rate: Share of the values of sequences that are left out.
        id_rate: Share of the ids that become missing.
        keys: Of the rows `[B]` int64: rows with the same key, step and view lack the same.
        salts: What else the draw depends on.
    """
    ids = block.ids
    if id_rate > 0:
        column = torch.arange(ids.shape[1], device=ids.device) * _STRIDE
        draw = hashed_uniform(keys.unsqueeze(1) + column, *salts, 0)
        ids = torch.where(draw < id_rate, missing.ids, ids)
    sequences = dict(block.sequences)
    if rate > 0:
        for number, (name, ragged) in enumerate(block.sequences.items(), start=1):
            sequences[name] = _thinned(ragged, rate, keys, (*salts, number))
    return FeatureBlock(ids=ids, numbers=block.numbers, vectors=block.vectors, sequences=sequences)


def _thinned(ragged: Ragged, rate: float, keys: Tensor, salts: Sequence[int | Tensor]) -> Ragged:
    lengths = ragged.lengths
    row = torch.repeat_interleave(torch.arange(lengths.shape[0], device=lengths.device), lengths)
    place = torch.arange(row.shape[0], device=lengths.device) - (lengths.cumsum(0) - lengths).index_select(0, row)
    kept = hashed_uniform(keys.index_select(0, row) + place * _STRIDE, *salts) >= rate
    return Ragged(ragged.values[kept], segment_sum(kept.long(), row, lengths.shape[0]))


def masked_view(
    block: FeatureBlock,
    rows: Tensor,
    lost: Tensor,
    missing: FeatureBlock,
    rates: tuple[float, float],
    keys: Tensor,
    salts: Sequence[int | Tensor],
) -> FeatureBlock:
    """Takes rows of a block, without some fields and random values: `without_fields` and `with_dropout` of them, of
    which nothing waits for a device.

    Where there are sequences, one more row stands behind the others, whose values are those that are left out.

    Args:
        block: Its sequences are measured (`Ragged.longest`).
        rows: `[B]`, at least one.
        lost: Which of the F fields are to be missing `[F]` bool.
        missing: One row of missing values.
        rates: Shares of the values of sequences, and of the ids, that are left out.
        keys: See `with_dropout`.
        salts: See `with_dropout`.
    """
    ids, numbers, vectors = block.ids.shape[1], block.numbers.shape[1], len(block.vectors)
    rate, id_rate = rates
    found = FeatureBlock(
        ids=torch.where(lost[:ids], missing.ids, block.ids.index_select(0, rows)),
        numbers=torch.where(lost[ids : ids + numbers], missing.numbers, block.numbers.index_select(0, rows)),
        vectors={
            name: torch.where(lost[ids + numbers + place], missing.vectors[name], value.index_select(0, rows))
            for place, (name, value) in enumerate(block.vectors.items())
        },
        sequences={},
    )
    found = with_dropout(found, missing, 0.0, id_rate, keys, salts)
    if not block.sequences:
        return found
    found = found.map(lambda values: torch.cat([values, values[:1]]))
    of_sequences = enumerate(block.sequences.items(), start=1)
    return replace(
        found,
        sequences={
            name: ragged.laid_out(
                rows, ~lost[ids + numbers + vectors + number - 1] & _kept(ragged, rate, keys, (*salts, number))
            )
            for number, (name, ragged) in of_sequences
        },
    )


def _kept(ragged: Ragged, rate: float, keys: Tensor, salts: Sequence[int | Tensor]) -> Tensor:
    """Says which places of rows keep their value `[B, longest]` bool."""
    place = torch.arange(ragged.longest or 0, device=keys.device) * _STRIDE
    if rate == 0:
        return torch.ones_like(keys.unsqueeze(1) + place, dtype=torch.bool)
    return hashed_uniform(keys.unsqueeze(1) + place, *salts) >= rate
