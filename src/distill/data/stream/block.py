"""A block: whole row groups (or pieces of them) in rows, from which batches are gathered.

Ids stay int32 as on disk; a batch widens them. In the flat layout every row is a request with one candidate. The
values lie in the host's memory, or on a device; where rows begin and end only the host needs to know.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from distill.data.stream.arrays import Values
from distill.data.stream.cells import Cells
from distill.data.stream.packing import Ints
from distill.schema import Side


@dataclass(frozen=True)
class RaggedBlock:
    """A sequence field of B rows: `values`, int32 or vectors `[…, W]` float32, and `ends [B + 1]` int64, values before
    each row."""

    values: Values
    ends: Ints


@dataclass(frozen=True)
class SideBlock:
    """The fields of one side of B rows that have more than one value.

    Attributes:
        vectors: Field name to `[B, W]` float32.
        sequences: Field name to its B rows.
    """

    vectors: Mapping[str, Values]
    sequences: Mapping[str, RaggedBlock]

    def map(self, function: Callable[[Values], Values]) -> SideBlock:
        """Returns the same with other arrays of values."""
        return SideBlock(
            {name: function(values) for name, values in self.vectors.items()},
            {name: replace(ragged, values=function(ragged.values)) for name, ragged in self.sequences.items()},
        )


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
        weight: Position of the row weight among the values; None if all rows count alike.
    """

    request: Cells
    candidate: Cells
    sides: Mapping[Side, SideBlock]
    ends: Ints | None
    hidden: Mapping[str, Values]
    unscored: tuple[int, ...] = ()
    weight: int | None = None

    def to(self, device: torch.device) -> Block:
        """Returns the same with its values on a device."""

        def moved(values: Values) -> Tensor:
            return (values if isinstance(values, Tensor) else torch.from_numpy(values)).to(device)

        return replace(
            self,
            request=replace(self.request, matrix=moved(self.request.matrix)),
            candidate=replace(self.candidate, matrix=moved(self.candidate.matrix)),
            sides={name: side.map(moved) for name, side in self.sides.items()},
            hidden={name: moved(values) for name, values in self.hidden.items()},
        )

    @property
    def num_bytes(self) -> int:
        """Bytes of all values."""
        sizes = [self.request.matrix.nbytes, self.candidate.matrix.nbytes, *(v.nbytes for v in self.hidden.values())]
        for side in self.sides.values():
            sizes += [values.nbytes for values in side.vectors.values()]
            sizes += [ragged.values.nbytes + ragged.ends.nbytes for ragged in side.sequences.values()]
        return sum(sizes) + (0 if self.ends is None else self.ends.nbytes)


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
