"""Parquet files, read row group by row group."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from distill.data.prepare.raw_file import unreadable
from distill.encodings.arrow import with_readable_names

_BATCH_ROWS = 1 << 18
_EXPANSION = 4


class ParquetFile:
    """A Parquet file; holds its footer, not its data."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with pq.ParquetFile(path) as file:
                self._metadata = file.metadata
                self._schema = with_readable_names(file.schema_arrow)
        except (pa.ArrowException, OSError) as error:
            raise unreadable(path, error) from error

    @property
    def num_rows(self) -> int:
        """Rows."""
        return int(self._metadata.num_rows)

    @property
    def schema(self) -> pa.Schema:
        """Columns and their Arrow types."""
        return self._schema

    @cached_property
    def _row_group_starts(self) -> list[int]:
        rows = [self._metadata.row_group(g).num_rows for g in range(self._metadata.num_row_groups)]
        return [0, *np.cumsum(rows).tolist()]

    @cached_property
    def _stored_bytes(self) -> Counter[str]:
        """Column to its bytes, decompressed."""
        total: Counter[str] = Counter()
        for group in range(self._metadata.num_row_groups):
            meta = self._metadata.row_group(group)
            for chunk in map(meta.column, range(meta.num_columns)):
                total[chunk.path_in_schema.split(".")[0]] += chunk.total_uncompressed_size
        return total

    def memory(self, columns: Sequence[str]) -> int:
        """Estimates the bytes of some columns in memory."""
        total = sum(self._stored_bytes.get(name, 0) for name in set(columns))
        return max(_EXPANSION * total, 16 * len(set(columns)) * self.num_rows)

    def batches(
        self, columns: Sequence[str], batch_bytes: int, dictionaries: Sequence[str] = (), start: int = 0
    ) -> Iterator[pa.RecordBatch]:
        """Streams some columns, row group by row group, in batches of about so many bytes at most.

        Args:
            columns: Which.
            batch_bytes: About the most that a batch takes in memory.
            dictionaries: Columns that come as dictionaries if they are text.
            start: First row; row groups before it are not read.

        Raises:
            DataError: A row group cannot be read.
        """
        row_bytes = self.memory(columns) // max(1, self.num_rows)
        rows = int(np.clip(batch_bytes // max(1, row_bytes), 64, _BATCH_ROWS))
        first = min(bisect_right(self._row_group_starts, start) - 1, self._metadata.num_row_groups)
        group = first
        text = [name for name in dictionaries if pa.types.is_string(self._schema.field(name).type)]
        try:
            with pq.ParquetFile(self.path, read_dictionary=text) as file:
                for group in range(first, self._metadata.num_row_groups):
                    left = self._metadata.row_group(group).num_rows
                    skipped = max(0, start - self._row_group_starts[group])
                    size = max(1, min(rows, left))  # Arrow makes room for as many rows, whether or not they are there
                    for batch in file.iter_batches(batch_size=size, row_groups=[group], columns=list(columns)):
                        left -= batch.num_rows
                        if skipped < batch.num_rows:
                            yield batch.slice(skipped)
                        skipped = max(0, skipped - batch.num_rows)
                    if left:  # Arrow ends early, without an error, when a column holds fewer rows than the footer says
                        raise pa.ArrowInvalid(
                            f"{abs(left)} rows {'fewer' if left > 0 else 'more'} than the footer says"
                        )
        except (pa.ArrowException, OSError) as error:
            raise unreadable(self.path, error, f", row group {group}") from error

    def locate(self, row: int) -> str:
        """Names a row of the file."""
        group = bisect_right(self._row_group_starts, row) - 1
        return f"{self.path}, row group {group}, row {row - self._row_group_starts[group]}"
