"""A block: whole row groups (or pieces of them) in rows, from which batches are gathered.

Ids stay int32 as on disk; a batch widens them. In the flat layout every row is a request with one candidate. The
matrices are NumPy's: its gathers run on the calling thread alone, where PyTorch's would wake a second team of threads
that fights with the one that trains.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from distill.data.stream.cells import Cells
from distill.data.stream.columns import Array
from distill.data.stream.packing import Ints
from distill.schema import Side


@dataclass(frozen=True)
class RaggedBlock:
    """A sequence field of B rows: `values` int32 and `ends [B + 1]` int64, values before each row."""

    values: Array
    ends: Ints


@dataclass(frozen=True)
class SideBlock:
    """The fields of one side of B rows that have more than one value.

    Attributes:
        vectors: Field name to `[B, W]` float32.
        sequences: Field name to its B rows.
    """

    vectors: Mapping[str, Array]
    sequences: Mapping[str, RaggedBlock]


@dataclass(frozen=True)
class Block:
    """R requests with N candidates.

    Attributes:
        request: `[R]` rows: request id and user id, `request.ids`, `request.numbers`.
        candidate: `[N]` rows: item id, stage and position in the split; `ids` and `numbers` of candidate and cross
            side; `labels` (NaN where not observed), `values`, and with signals `logits` (NaN where not scored).
        sides: The other fields; R rows of the request side, N rows of the others.
        ends: `[R + 1]` int64, candidates before each request; None in the flat layout.
        hidden: Name to `[N, W]` float32.
        unscored: Positions of the tasks of which the signals hold no logits.
    """

    request: Cells
    candidate: Cells
    sides: Mapping[Side, SideBlock]
    ends: Ints | None
    hidden: Mapping[str, Array]
    unscored: tuple[int, ...] = ()


def ragged_rows(ends: Ints, rows: Ints) -> tuple[Ints, Ints]:
    """Finds the values of some rows of a ragged array.

    Args:
        ends: `[B + 1]`, values before each row.
        rows: `[b]`.

    Returns:
        Length of each row `[b]`, and the positions of their values, one row after the other.
    """
    starts = ends.take(rows)
    lengths = ends.take(rows + 1) - starts
    positions = np.repeat(starts - (lengths.cumsum() - lengths), lengths)
    positions += np.arange(positions.size)
    return lengths, positions
