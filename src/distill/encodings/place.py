"""Where a value of an array came from, to be named in errors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Int64 = npt.NDArray[np.int64]


def table_row(position: int) -> str:
    """Names a row of a table in memory."""
    return f"row {position}"


@dataclass(frozen=True)
class Place:
    """Names positions of one column.

    Attributes:
        column: Raw column.
        use: What it is used for, such as `field 'price'`.
        locate: Position in the array to a place such as `logs.parquet, row group 0, row 12`.
    """

    column: str
    use: str
    locate: Callable[[int], str] = table_row

    @property
    def is_field(self) -> bool:
        """Whether the column is read as a field, which may say what NaN means."""
        return self.use.startswith("field ")

    def at(self, position: int) -> str:
        """Names one position."""
        return f"{self.locate(int(position))}, column {self.column!r} ({self.use})"

    def rows(self, rows: Int64) -> Place:
        """Returns the place of some positions of the array."""
        return Place(self.column, self.use, lambda position: self.locate(int(rows[position])))

    def nested(self, lengths: Int64) -> Place:
        """Returns the place of the values of lists, of which row i has `lengths[i]`."""

        def locate(position: int) -> str:
            ends = np.cumsum(lengths)
            row = int(np.searchsorted(ends, position, side="right"))
            inside = position - int(ends[row] - lengths[row])
            return f"{self.locate(row)}, value {inside}"

        return Place(self.column, self.use, locate)
