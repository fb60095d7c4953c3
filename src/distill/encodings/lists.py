"""Checked conversions of raw columns of lists: sequences, and vectors of numbers."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pyarrow as pa

from distill.encodings.arrow import Int64, explode, family, from_lengths, null_mask
from distill.encodings.place import Place
from distill.encodings.values import first, to_float32, to_numbers
from distill.errors import DataError


def check_lists(array: pa.Array, place: Place) -> None:
    """Raises DataError if a column holds no lists; null is one."""
    found = family(array.type)
    if found != "null" and not found.startswith("list of "):
        raise DataError("This column holds no lists.", where=place.at(0), expected="a list or null", found=found)


def to_ragged(array: pa.Array, max_length: int | None) -> tuple[pa.Array, Int64, Int64]:
    """Takes lists apart: nulls inside are dropped, then the last `max_length` values of each list are kept.

    Returns:
        Values, lengths `[n]`, and the row of each missing value: null lists and nulls inside.
    """
    values, lengths = explode(array) if family(array.type) != "null" else (pa.nulls(0), np.zeros(len(array), np.int64))
    missing = [np.flatnonzero(null_mask(array))]
    rows = np.repeat(np.arange(len(lengths)), lengths)
    if values.null_count:
        null = null_mask(values)
        missing.append(rows[null])
        values, rows = values.filter(pa.array(~null)), rows[~null]
        lengths = np.bincount(rows, minlength=len(lengths)).astype(np.int64)
    if max_length is not None and len(lengths) and int(lengths.max()) > max_length:
        from_end = np.repeat(np.cumsum(lengths), lengths) - np.arange(len(rows))
        values = values.filter(pa.array(from_end <= max_length))
        lengths = np.minimum(lengths, max_length)
    return values, lengths, np.concatenate(missing)


def to_vector_lists(
    array: pa.Array, width: int, max_length: int | None, place: Place, nan: Literal["error", "missing"]
) -> tuple[pa.Array, Int64]:
    """Converts lists of vectors: nulls among the vectors are dropped, then the last `max_length` of each list are kept.

    Args:
        array: Lists of lists of numbers `[n]`.
        width: Numbers of a vector.
        max_length: Most vectors of a list; all if None.
        place: Of the array.
        nan: What a NaN or a null inside a vector means.

    Returns:
        Lists of fixed-size lists `[n]`, and the row of each missing value: null lists and vectors, numbers inside.

    Raises:
        DataError: A value of a list is no vector of this width, or a number does not fit or is missing.
    """
    values, lengths, missing = to_ragged(array, max_length)
    inside = place.nested(lengths)
    check_lists(values, inside)
    vectors, wrong = to_vectors(values, width, inside, nan)
    rows = np.repeat(np.arange(len(lengths)), lengths)
    return from_lengths(vectors, lengths), np.concatenate([missing, rows[wrong]])


def to_vectors(
    array: pa.Array,
    width: int,
    place: Place,
    nan: Literal["error", "missing"],
    null_inside: Literal["error", "missing"] | None = None,
) -> tuple[pa.Array, Int64]:
    """Converts lists to vectors of float32; a null list is a vector of zeros.

    A null or NaN inside a vector is a measurement gone wrong rather than one that is missing: an error, or with
    `"missing"` 0.

    Args:
        array: Lists of numbers `[n]`.
        width: Numbers of a vector.
        place: Of the array.
        nan: What a NaN inside a vector means.
        null_inside: What a null inside a vector means; as NaN if not given.

    Returns:
        Fixed-size lists `[n, width]`, and the row of each missing vector or value.

    Raises:
        DataError: A list has another length, or a number does not fit or is missing.
    """
    missing = null_mask(array)
    values, lengths = explode(array) if family(array.type) != "null" else (pa.nulls(0), np.zeros(len(array), np.int64))
    if (position := first((lengths != width) & ~missing)) >= 0:
        raise DataError(
            "A vector has the wrong width.",
            where=place.at(position),
            expected=f"{width} numbers (its `width`)",
            found=f"{lengths[position]} numbers",
        )
    inside = place.nested(lengths)
    if (null_inside or nan) == "error" and (position := first(null_mask(values))) >= 0:
        raise DataError(
            "A number inside a vector is null.",
            where=inside.at(position),
            expected=f"{width} numbers, or null as the whole vector",
            found="null",
            remedy="Write null as the whole vector"
            + (", or set `nan: missing` on the field, which takes such a number for 0." if place.is_field else "."),
        )
    numbers, inner_missing = to_numbers(values, inside, nan)
    dense = np.zeros((len(array), width), np.float32)
    dense[~missing] = to_float32(numbers, inside).reshape(-1, width)
    inner_rows = np.repeat(np.arange(len(lengths)), lengths)[inner_missing]
    flat = pa.array(dense.reshape(-1))
    return pa.FixedSizeListArray.from_arrays(flat, width), np.concatenate([np.flatnonzero(missing), inner_rows])
