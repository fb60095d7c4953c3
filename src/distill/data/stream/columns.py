"""Arrow columns to NumPy arrays, with every assumption checked.

Traps of Arrow met here: a slice of a list column shares the values of the whole and its offsets do not start at 0; a
column may come in chunks; nulls turn integers into floats; buffers are read-only, so that nothing is written to them.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from distill.data.stream.arrays import Array
from distill.data.stream.packing import Ints
from distill.errors import DataError


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


def check_ids(values: Array, size: int | None, where: str) -> None:
    """Compares ids with the size of their embedding table, where an id beyond it would be a row of the next field.

    Args:
        values: `[n]` int32.
        size: Rows of the table; None if it is not known.
        where: File, row group and column, for the error.

    Raises:
        DataError: An id is negative, or not below the size.
    """
    end = 1 << 31 if size is None else size
    unsigned = values.view(np.uint32)  # a negative id is a very large one: one pass finds both
    if values.size and int(unsigned.max()) >= end:
        position = int(np.argmax(unsigned >= end))
        raise DataError(
            "An id is not in its embedding table.",
            where=f"{where}, value {position} of those read",
            expected="0 or more" if size is None else f"0 to {size - 1} (size: {size} in the schema)",
            found=str(values[position]),
            remedy="Prepare the data again with this schema.",
        )


def check_finite(values: Array, where: str) -> None:
    """Compares the bits of numbers with those of infinity, which only infinities and NaN reach.

    Args:
        values: Contiguous float32.
        where: File, row group and column, for the error.

    Raises:
        DataError: A number is not finite.
    """
    flat = values.reshape(-1)
    if not flat.size or (int(flat.view(np.int32).max()) < 0x7F800000 and int(flat.view(np.uint32).max()) < 0xFF800000):
        return
    position = int(np.argmin(np.isfinite(flat)))
    raise DataError(
        "A number is not finite.",
        where=f"{where}, value {position} of those read",
        expected="finite numbers: what is missing was filled in when the data was prepared",
        found=str(flat[position]),
        remedy="Prepare the data again.",
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


def flat_values(table: pa.Table, name: str, where: str) -> Array:
    """Views all values of a column, however deep they lie in lists.

    Raises:
        DataError: It holds nulls.
    """
    array = single_array(table, name, where)
    while pa.types.is_list(array.type) or pa.types.is_fixed_size_list(array.type):
        array = without_nulls(array.flatten(), f"{where}, column {name}")
    return plain(array)


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


_TURNED = 5  # columns from which on it pays


def fill_matrix(target: Array, columns: list[Array], chunk: int = 4096) -> None:
    """Writes columns side by side into a row-major matrix.

    A few rows at a time are laid out column by column and turned around, so that they stay in the cache: to write many
    columns where they belong one by one takes twice the time.

    Args:
        target: `[B, F]`, written to.
        columns: F arrays `[B]`.
        chunk: Rows at a time.
    """
    count, turns = target.shape[0], len(columns) >= _TURNED
    turned = np.empty((len(columns), min(chunk, count) if turns else 0), target.dtype)
    for start in range(0, count, chunk):
        rows = target[start : start + chunk]
        by_column = turned[:, : rows.shape[0]] if turns else rows.T
        for place, column in enumerate(columns):
            by_column[place] = column[start : start + chunk]
        if turns:
            rows[:] = by_column.T
