"""Arrow arrays in the few types that preparation works with."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Int64 = npt.NDArray[np.int64]
Bool = npt.NDArray[np.bool_]

_SAFE_DIGITS = 18


def with_readable_names(schema: pa.Schema) -> pa.Schema:
    """Returns a schema as it was found in a file, if the names of its columns are text.

    Raises:
        pa.ArrowInvalid: One is not UTF-8.
    """
    try:
        list(schema.names)
    except UnicodeDecodeError as error:
        raise pa.ArrowInvalid(f"the name of a column is not UTF-8: {error}") from error
    return schema


def is_list(kind: pa.DataType) -> bool:
    """Whether values are lists of any Arrow flavour."""
    t = pa.types
    return bool(
        t.is_list(kind)
        or t.is_large_list(kind)
        or t.is_fixed_size_list(kind)
        or t.is_list_view(kind)
        or t.is_large_list_view(kind)
    )


def is_whole_decimal(kind: pa.DataType) -> bool:
    """Whether values are decimals without a fraction, as Spark, Hive and Oracle write large ids."""
    return bool(pa.types.is_decimal(kind) and kind.scale <= 0)


def plain_type(kind: pa.DataType) -> pa.DataType:
    """Returns what a column is cast to when read: int64, string, float64, bool, list of these; times stay.

    Whole numbers that may not fit into int64 stay as they are: as ids they are taken by their bits, as measured
    numbers by their value.
    """
    t = pa.types
    if t.is_dictionary(kind):
        return plain_type(kind.value_type)
    if is_list(kind):
        return pa.list_(plain_type(kind.value_type))
    if kind == pa.uint64() or (is_whole_decimal(kind) and kind.precision > _SAFE_DIGITS):
        return kind
    if t.is_integer(kind) or is_whole_decimal(kind):
        return pa.int64()
    if t.is_floating(kind) or t.is_decimal(kind):
        return pa.float64()
    if t.is_large_string(kind) or t.is_string_view(kind) or t.is_binary(kind) or t.is_large_binary(kind):
        return pa.string()
    return kind


def common_type(kinds: Sequence[pa.DataType], numeric: bool) -> pa.DataType:
    """Returns the plain type that a column with several plain types is read as.

    Dates and timestamps together are instants in microseconds: a date is its midnight, a time without a zone is UTC.

    Args:
        kinds: Its plain types in several files.
        numeric: Whether it holds measured numbers: then integers and floats together are floats, else integers.
    """
    known = list(dict.fromkeys(kind for kind in kinds if "null" not in family(kind)))
    if len(known) <= 1:
        return known[0] if known else kinds[0]
    if all(is_list(kind) for kind in known):
        return pa.list_(common_type([kind.value_type for kind in known], numeric))
    if all(family(kind) == "time" for kind in known):
        zoned = any(pa.types.is_timestamp(kind) and kind.tz is not None for kind in known)
        return pa.timestamp("us", "UTC" if zoned else None)
    return pa.float64() if numeric else pa.int64()


def family(kind: pa.DataType) -> str:
    """Names a plain type: int, float, bool, string, time, time of day, duration, null, `list of …`, or Arrow's name."""
    t = pa.types
    if is_list(kind):
        return f"list of {family(kind.value_type)}"
    if t.is_date(kind) or t.is_timestamp(kind):
        return "time"
    if is_whole_decimal(kind):
        return "int"
    if t.is_time(kind):
        return "time of day"
    for name, check in (
        ("int", t.is_integer),
        ("float", t.is_floating),
        ("bool", t.is_boolean),
        ("string", t.is_string),
        ("null", t.is_null),
        ("duration", t.is_duration),
    ):
        if check(kind):
            return name
    return str(kind)


def is_text(kind: pa.DataType) -> bool:
    """Whether values are strings, plain or as a dictionary."""
    return bool(pa.types.is_string(kind.value_type if pa.types.is_dictionary(kind) else kind))


def combine(array: pa.Array | pa.ChunkedArray) -> pa.Array:
    """Returns one contiguous array."""
    if not isinstance(array, pa.ChunkedArray):
        return array
    if array.num_chunks == 1:
        return array.chunk(0)
    return pa.concat_arrays(array.chunks) if array.num_chunks else pa.array([], array.type)


def to_plain(array: pa.Array | pa.ChunkedArray, target: pa.DataType | None = None) -> pa.Array:
    """Casts an array to its plain type, or to a common one.

    Raises:
        pa.ArrowInvalid: A value does not fit.
    """
    combined = combine(array)
    target = target or plain_type(combined.type)
    if combined.type == target:
        return combined
    if pa.types.is_dictionary(combined.type):
        return to_plain(combined.cast(combined.type.value_type), target)
    if is_list(target) and is_list(combined.type):
        return map_values(combined, lambda values: to_plain(values, target.value_type))
    if target == pa.int64() and (combined.type == pa.uint64() or is_whole_decimal(combined.type)):
        return to_int64_bits(combined)
    if pa.types.is_timestamp(target):
        return to_microseconds(combined).cast(target)
    return combined.cast(target, safe=not pa.types.is_floating(target))


def to_int64_bits(array: pa.Array) -> pa.Array:
    """Takes whole numbers as int64; those from 2⁶³ up to 2⁶⁴ by their bits (two's complement), as unsigned ids are.

    Raises:
        pa.ArrowInvalid: A number has more than 64 bits.
    """
    if array.type == pa.int64():
        return array
    if pa.types.is_uint64(array.type):
        return array.view(pa.int64())
    try:
        return array.cast(pa.int64())
    except pa.ArrowInvalid:
        return array.cast(pa.uint64()).view(pa.int64())


def to_microseconds(array: pa.Array) -> pa.Array:
    """Casts dates and timestamps of any unit to microseconds, finer parts cut off; a zone stays as it is.

    Raises:
        pa.ArrowInvalid: A time is too far from 1970.
    """
    zone = array.type.tz if pa.types.is_timestamp(array.type) else None
    options = pc.CastOptions(pa.timestamp("us", zone), allow_time_truncate=True)
    return pc.cast(array, options=options)


def map_values(array: pa.Array, change: Callable[[pa.Array], pa.Array]) -> pa.Array:
    """Changes the values inside lists `[n]`, whatever their Arrow flavour; null lists stay null."""
    values, lengths = explode(array)
    return from_lengths(change(values), lengths, null_mask(array))


def null_mask(array: pa.Array) -> Bool:
    """Returns which values are null `[n]`."""
    if array.null_count == 0:
        return np.zeros(len(array), np.bool_)
    return np.asarray(array.is_null().to_numpy(zero_copy_only=False))


def explode(array: pa.Array) -> tuple[pa.Array, Int64]:
    """Flattens a list array by one level.

    Returns:
        The values of all lists, and the length of each `[n]`; a null list has length 0.
    """
    lengths = pc.fill_null(pc.list_value_length(array), 0).to_numpy(zero_copy_only=False).astype(np.int64)
    return array.flatten(), lengths


def from_lengths(values: pa.Array, lengths: Int64, null: Bool | None = None) -> pa.Array:
    """Builds a list array `[n]` of consecutive runs of `values`; those that are null have length 0."""
    offsets = np.zeros(len(lengths) + 1, np.int32)
    np.cumsum(lengths, out=offsets[1:])
    mask = pa.array(null) if null is not None and null.any() else None
    return pa.ListArray.from_arrays(pa.array(offsets), values, mask=mask)


def differs(left: pa.Array, right: pa.Array) -> Bool:
    """Compares two arrays of one type value by value; nulls equal nulls and NaN equals NaN `[n]`."""
    left_null, right_null = null_mask(left), null_mask(right)
    unequal: Bool = left_null != right_null
    if pa.types.is_null(left.type):
        return unequal
    if is_list(left.type):
        return unequal | _lists_differ(left, right)
    both = ~(left_null | right_null)
    values = pc.fill_null(pc.not_equal(left, right), False).to_numpy(zero_copy_only=False)
    if pa.types.is_floating(left.type):
        both_nan = pc.fill_null(pc.and_(pc.is_nan(left), pc.is_nan(right)), False)
        values = values & ~both_nan.to_numpy(zero_copy_only=False)
    unequal |= both & values
    return unequal


def _lists_differ(left: pa.Array, right: pa.Array) -> Bool:
    left_values, left_lengths = explode(left)
    right_values, right_lengths = explode(right)
    different: Bool = left_lengths != right_lengths
    keep_left = pa.array(np.repeat(~different, left_lengths))
    keep_right = pa.array(np.repeat(~different, right_lengths))
    inner = differs(left_values.filter(keep_left), right_values.filter(keep_right))
    rows = np.repeat(np.arange(len(different)), np.where(different, 0, left_lengths))
    different[rows[inner]] = True
    return different
