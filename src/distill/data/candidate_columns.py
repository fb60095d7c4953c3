"""Some columns of a part file, one value per candidate, without the rest of the reader."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import pyarrow as pa

from distill.data.checked_file import CheckedFile
from distill.data.stream.arrays import Array


def candidate_columns(file: CheckedFile, names: Sequence[str]) -> Iterator[Mapping[str, Array]]:
    """Yields candidate columns of a file by name, each `[N]`, row group by row group.

    Raises:
        DataError: The file cannot be read, is not what was written, or lacks a column.
    """
    for table in file.tables(names):
        yield {name: _flat(table.column(name)) for name in names}


def _flat(column: pa.ChunkedArray) -> Array:
    array = column.combine_chunks()
    values: Array = (array.flatten() if pa.types.is_list(array.type) else array).to_numpy(zero_copy_only=False)
    return values
