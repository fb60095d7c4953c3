"""Columns of four or eight bytes side by side in one matrix.

A gather costs by the places in memory that it visits, less by what lies there: one matrix is gathered in about half
the time that a matrix for each group of columns takes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from torch import Tensor

from distill.data.stream.arrays import Values, gather, view
from distill.data.stream.packing import Ints


@dataclass(frozen=True)
class Cells:
    """B rows of C cells, four bytes each; a key of eight bytes takes two.

    Attributes:
        matrix: `[B, C]` int32, of the host or of a device; C is even and keys come first, so that they lie at multiples
            of eight bytes.
        keys: Number of keys.
        places: Name of a group of columns to its cells.
    """

    matrix: Values
    keys: int
    places: Mapping[str, slice]

    @classmethod
    def empty(cls, rows: int, keys: int, widths: Mapping[str, int]) -> Cells:
        """Returns rows to be filled: keys, then groups of so many columns each."""
        places: dict[str, slice] = {}
        end = 2 * keys
        for name, width in widths.items():
            places[name] = slice(end, end + width)
            end += width
        return cls(np.empty((rows, end + end % 2), np.int32), keys, places)

    @property
    def key_columns(self) -> Any:
        """The keys `[B, K]` int64, to be written to."""
        return view(self.matrix, "int64")[:, : self.keys]

    def ids(self, name: str) -> Any:
        """The ids of a group `[B, F]` int32, to be written to."""
        return self.matrix[:, self.places[name]]

    def numbers(self, name: str) -> Any:
        """The numbers of a group `[B, M]` float32, to be written to."""
        return view(self.matrix, "float32")[:, self.places[name]]

    def take(self, rows: Ints | Tensor) -> Cells:
        """Gathers rows `[b]`."""
        return replace(self, matrix=gather(self.matrix, rows))
