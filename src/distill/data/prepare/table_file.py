"""Delta Lake and Iceberg tables, read part by part."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from distill.data.prepare.raw_file import from_row, unreadable
from distill.data.table_formats import TablePart, open_table, table_named
from distill.encodings.arrow import with_readable_names

_BATCH_ROWS = 1 << 18
_SAMPLED_ROWS = 1 << 12
_EXPANSION = 2


class TableFile:
    """A table at a version, as one raw file.

    Args:
        path: A table, as `table_named` knows it.
        needed: Columns that will be read.

    Raises:
        ConfigError: The package that reads the table is not installed.
        DataError: It cannot be read.
    """

    def __init__(self, path: Path, needed: Sequence[str]) -> None:
        name = table_named(path)
        assert name is not None
        self._table = open_table(name)
        self.path: Path = self._table.name.pinned
        self._starts = [0, *np.cumsum([part.rows for part in self._table.parts]).tolist()]
        self._row_bytes = self._measured([column for column in dict.fromkeys(needed) if column in self.schema.names])

    @property
    def num_rows(self) -> int:
        """Rows."""
        return int(self._starts[-1])

    @property
    def schema(self) -> pa.Schema:
        """Columns and their Arrow types."""
        return with_readable_names(self._table.schema)

    def memory(self, columns: Sequence[str]) -> int:
        """Estimates the bytes of some columns in memory, by the first rows."""
        return int(self.num_rows * sum(max(16.0, _EXPANSION * self._row_bytes.get(name, 0.0)) for name in set(columns)))

    def batches(
        self, columns: Sequence[str], batch_bytes: int, dictionaries: Sequence[str] = (), start: int = 0
    ) -> Iterator[pa.RecordBatch]:
        """Streams some columns from a row on, in batches of about so many bytes at most.

        Raises:
            DataError: A part cannot be read.
        """
        row_bytes = self.memory(columns) // max(1, self.num_rows)
        rows = int(np.clip(batch_bytes // max(1, row_bytes), 64, _BATCH_ROWS))
        first = max(0, bisect_right(self._starts, start) - 1)
        for part, begin in list(zip(self._table.parts, self._starts[:-1], strict=True))[first:]:
            yield from from_row(self._read(part, columns, rows), max(0, start - begin))

    def locate(self, row: int) -> str:
        """Names a row of the table by its part, in which deleted rows do not count."""
        number = min(bisect_right(self._starts, row), len(self._table.parts)) - 1
        return f"{self.path}, {self._table.parts[number].path.name}, row {row - self._starts[number]}"

    def _read(self, part: TablePart, columns: Sequence[str], rows: int) -> Iterator[pa.RecordBatch]:
        try:
            yield from part.read(columns, rows)
        except (pa.ArrowException, OSError, ValueError) as error:
            raise unreadable(part.path, error) from error

    def _measured(self, columns: Sequence[str]) -> dict[str, float]:
        """Returns the bytes of a row of each column, in the first rows."""
        filled = next((part for part in self._table.parts if part.rows), None)
        if filled is None or not columns:
            return {}
        batch = next(batch for batch in self._read(filled, columns, _SAMPLED_ROWS) if batch.num_rows)
        return {name: batch.column(name).nbytes / batch.num_rows for name in columns}
