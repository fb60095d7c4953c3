"""Some columns of a part file, one value per candidate, without the rest of the reader."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from distill.data.stream.columns import Array, unreadable


def candidate_columns(path: Path, names: Sequence[str]) -> Iterator[Mapping[str, Array]]:
    """Yields candidate columns of a file by name, each `[N]`, row group by row group.

    Raises:
        DataError: The file cannot be read, or lacks a column.
    """
    try:
        with pq.ParquetFile(path) as file:
            for group in range(file.num_row_groups):
                table = file.read_row_group(group, columns=list(names))
                yield {name: _flat(table.column(name)) for name in names}
    except (OSError, KeyError, pa.ArrowException) as error:
        raise unreadable(path, error) from error


def _flat(column: pa.ChunkedArray) -> Array:
    array = column.combine_chunks()
    values: Array = (array.flatten() if pa.types.is_list(array.type) else array).to_numpy(zero_copy_only=False)
    return values
