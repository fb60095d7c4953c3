"""Arrow columns to NumPy arrays, with every assumption checked.

Traps of Arrow met here: a slice of a list column shares the values of the whole and its offsets do not start at 0; a
column may come in chunks; nulls turn integers into floats; buffers are read-only, so that nothing is written to them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from distill.data.stream.packing import Ints
from distill.errors import DataError

Array = NDArray[Any]


def same_type(found: pa.DataType, expected: pa.DataType) -> bool:
    """Compares two Arrow types without regard to names and nullability of list items."""
    if pa.types.is_fixed_size_list(expected):
        return (
            pa.types.is_fixed_size_list(found)
            and found.list_size == expected.list_size
            and same_type(found.value_type, expected.value_type)
        )
    if pa.types.is_list(expected):
        return pa.types.is_list(found) and same_type(found.value_type, expected.value_type)
    return bool(found.equals(expected))


def unreadable(path: Path, error: Exception, group: int | None = None) -> DataError:
    """Says that a Parquet file cannot be read."""
    return DataError(
        "A Parquet file cannot be read.",
        where=f"{path}, {'footer or request lengths' if group is None else f'row group {group}'}",
        found=f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'no message'}",
        remedy="The file is gone, cut short or damaged. Prepare (or score) the data again.",
    )


def single_array(table: pa.Table, name: str, where: str) -> pa.Array:
    """Returns a column as one Arrow array without nulls.

    Args:
        table: Rows as read.
        name: The column.
        where: File and row group, for the error.

    Raises:
        DataError: It holds nulls.
    """
    chunks = table.column(name)
    array = chunks.chunk(0) if chunks.num_chunks == 1 else chunks.combine_chunks()
    if isinstance(array, pa.ChunkedArray):
        array = pa.concat_arrays(array.chunks) if array.num_chunks else pa.array([], type=array.type)
    return without_nulls(array, f"{where}, column {name}")


def without_nulls(array: pa.Array, where: str) -> pa.Array:
    """Returns the array if it holds no nulls.

    Raises:
        DataError: It does.
    """
    if array.null_count:
        raise DataError(
            "A column holds nulls.",
            where=where,
            expected="NaN for an absent label, 0 for a missing id, and no nulls",
            found=f"{array.null_count} of {len(array)}",
            remedy="Prepare the data again.",
        )
    return array


def plain(array: pa.Array) -> Array:
    """Views a primitive Arrow array without nulls as NumPy."""
    view: Array = array.to_numpy(zero_copy_only=True)
    return view


def integers(array: pa.Array) -> Ints:
    """Copies an integer Arrow array to int64."""
    return plain(array).astype(np.int64)


def unnest(array: pa.Array, lengths: Ints, where: str) -> pa.Array:
    """Flattens a list column whose lists have the given lengths.

    Args:
        array: One list per request.
        lengths: Candidates of each request.
        where: File, row group and column, for the error.

    Returns:
        One value per candidate, without nulls.

    Raises:
        DataError: A list has another length, or a value is null.
    """
    found, values = split_lists(array, where)
    if not np.array_equal(found, lengths):
        row = int(np.flatnonzero(found != lengths)[0])
        raise DataError(
            "A list does not have one value per candidate of its request.",
            where=f"{where}, row {row} of those read",
            expected=f"{int(lengths[row])} values",
            found=f"{int(found[row])} values",
            remedy="Prepare (or score) the data again.",
        )
    return values


def split_lists(array: pa.Array, where: str) -> tuple[Ints, pa.Array]:
    """Splits a list column into the length of each list and the values of all lists, slices respected.

    Raises:
        DataError: A value is null.
    """
    ends = integers(array.offsets)
    values = array.values.slice(int(ends[0]), int(ends[-1] - ends[0]))
    return np.diff(ends), without_nulls(values, where)


def vectors(array: pa.Array, width: int, where: str) -> Array:
    """Views a column of fixed-size lists as `[B, width]`.

    Raises:
        DataError: A value is null.
    """
    return plain(without_nulls(array.flatten(), where)).reshape(-1, width)


def fill_matrix(target: Array, columns: list[Array], chunk: int = 4096) -> None:
    """Writes columns side by side into a row-major matrix, a few rows at a time so that they stay in the cache.

    Args:
        target: `[B, F]`, written to.
        columns: F arrays `[B]`.
        chunk: Rows at a time.
    """
    for start in range(0, target.shape[0], chunk):
        rows = target[start : start + chunk]
        for position, column in enumerate(columns):
            rows[:, position] = column[start : start + chunk]
