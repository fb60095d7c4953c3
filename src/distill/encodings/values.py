"""Checked conversions of raw columns: numbers, values of ids, group keys and times."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from distill.encodings.arrow import Bool, Int64, explode, family, is_text, null_mask, to_int64_bits, to_microseconds
from distill.encodings.hashing import hash_strings
from distill.encodings.place import Place
from distill.encodings.text import first_failing, to_instants
from distill.errors import DataError

Float64 = npt.NDArray[np.float64]

EXACT = 2.0**53
"""Up to here every whole number is a float64."""
# Where the schema says what NaN means, by the first word of what a column is used for.
_NAN_OWNERS = {"field": "the field", "label": "the task", "teacher": "`teacher`", "hidden": "`teacher`"}
LARGEST = 1e100
"""Largest number in size that is taken for measured: beyond it sums of squares may not be finite."""
LARGEST_FLOAT32 = float(np.finfo(np.float32).max)


def first(mask: Bool) -> int:
    """Returns the first true position, -1 without one."""
    position = int(np.argmax(mask)) if len(mask) else 0
    return position if len(mask) and mask[position] else -1


def to_numbers(
    array: pa.Array, place: Place, nan: Literal["error", "missing"] = "error", largest: float = LARGEST
) -> tuple[Float64, Bool]:
    """Converts a column of numbers.

    Args:
        array: int, float, bool, whole decimals or null `[n]`.
        place: Of the array.
        nan: What NaN means.
        largest: Largest absolute value; beyond it sums of squares may not be finite.

    Returns:
        Values (0 where missing) and whether each is missing, `[n]` each.

    Raises:
        DataError: The column holds something else, infinity, a number beyond `largest`, or NaN where it is an error.
    """
    kind = family(array.type)
    missing = null_mask(array)
    if kind == "null":
        return np.zeros(len(array)), missing
    if kind not in ("int", "float", "bool"):
        raise DataError("This column holds no numbers.", where=place.at(0), expected="numbers", found=kind)
    if kind == "bool":
        array = array.cast(pa.int8())
    array = array.cast(pa.float64(), safe=False)
    if array.null_count:
        array = pc.fill_null(array, 0.0)
    values = array.to_numpy(zero_copy_only=False)
    if kind == "float" and not all_within(values, largest):
        values, missing = _settle_nan(values, missing, place, nan, largest)
    return values, missing


def all_within(values: npt.NDArray[Any], largest: float) -> bool:
    """Whether all numbers of any shape are at most `largest` in size; NaN is not."""
    return values.size == 0 or bool(values.min() >= -largest and values.max() <= largest)


def to_positive(array: pa.Array, place: Place) -> tuple[Float64, Bool]:
    """Converts a column of numbers of which all must be there and above 0; see `to_numbers`.

    Raises:
        DataError: One is null or not positive.
    """
    numbers, missing = to_numbers(array, place)
    if (position := first(missing | (numbers <= 0))) >= 0:
        raise DataError(
            "A column of the ranking score must be positive.",
            where=place.at(position),
            expected="a number above 0",
            found="null" if missing[position] else repr(float(numbers[position])),
            remedy="Fill or correct the value, or take the column out of `score`.",
        )
    return numbers, missing


def to_float32(values: Float64, place: Place) -> npt.NDArray[np.float32]:
    """Rounds finite numbers to float32.

    Raises:
        DataError: One is too large for it.
    """
    with np.errstate(over="ignore"):
        rounded = values.astype(np.float32)
    if not all_within(rounded, LARGEST_FLOAT32) and (position := first(np.isinf(rounded))) >= 0:
        raise DataError(
            "A number is too large for float32.",
            where=place.at(position),
            expected="at most 3.4e38 in size",
            found=repr(float(values[position])),
            remedy="Rescale the column, or use the encoding `log` or `standardise`.",
        )
    return rounded


def _settle_nan(
    values: Float64, missing: Bool, place: Place, nan: Literal["error", "missing"], largest: float
) -> tuple[Float64, Bool]:
    is_nan = np.isnan(values)
    bad = (np.abs(values) > largest) | (is_nan & (nan == "error"))
    if (position := first(bad)) >= 0:
        remedy = "Write null where the number is not known"
        if not is_nan[position]:
            remedy += "; no measured number is as large."
        else:
            owner = _NAN_OWNERS.get(place.use.split(" ")[0])
            remedy += "." if owner is None else f", or set `nan: missing` on {owner} in the schema."
        raise DataError(
            "A number is too large." if np.isfinite(values[position]) else "A number is not finite.",
            where=place.at(position),
            expected=f"a finite number of at most {largest:g} in size, or null",
            found=str(values[position]),
            remedy=remedy,
        )
    return np.where(is_nan, 0.0, values), missing | is_nan


def to_id_values(array: pa.Array, place: Place, nan: Literal["error", "missing"] = "error") -> pa.Array:
    """Converts a column of ids to int64 or string, nulls kept; booleans become 0 and 1, dictionaries of text stay.

    Integers never go through floating point; unsigned ones from 2⁶³ on are taken by their bits.
    Floats are taken only if they are whole numbers, as columns with missing ids are often stored.

    Raises:
        DataError: The column holds something else.
    """
    kind = family(array.type)
    if is_text(array.type):
        return array
    if kind == "int":
        return _to_int64(array, place)
    if kind in ("null", "bool"):
        return array.cast(pa.int64())
    if kind != "float":
        raise DataError("This column cannot be ids.", where=place.at(0), expected="int, string or bool", found=kind)
    values, missing = to_numbers(array, place, nan)
    whole = values == np.floor(values)
    if (position := first(~whole | (np.abs(values) > EXACT))) >= 0:
        raise DataError(
            "Ids are stored as floating-point numbers "
            + ("too large to be exact." if whole[position] else "that are not whole."),
            where=place.at(position),
            expected="int, string, bool, or whole numbers up to 2**53",
            found=repr(float(values[position])),
            remedy="Store the ids as integers or strings (in CSV declare `raw.columns: {"
            f"{place.column}: text}}`); for a measured number use an encoding for numbers.",
        )
    return pa.array(values.astype(np.int64), mask=missing)


def _to_int64(array: pa.Array, place: Place) -> pa.Array:
    try:
        return to_int64_bits(array)
    except pa.ArrowInvalid as error:
        position = first_failing(len(array), lambda low, high: to_int64_bits(array.slice(low, high - low)))
        raise DataError(
            "An id has more than 64 bits.",
            where=place.at(position),
            expected="whole numbers of 64 bits, signed or unsigned",
            found=str(array[position].as_py()),
            remedy=f"Take the column as text: `raw.columns: {{{place.column}: text}}` in the schema.",
        ) from error


def text_of_key(array: pa.Array) -> pa.Array:
    """Returns the text whose hash is the key of an id that is text or a time; nulls stay."""
    if pa.types.is_timestamp(array.type):  # an instant is the same in every zone, known here or not
        array = array.cast(pa.timestamp(array.type.unit))
    return array.cast(pa.string())


def to_keys(array: pa.Array, place: Place) -> tuple[Int64, Bool]:
    """Converts group ids to int64 keys: integers as they are, strings by their stable hash.

    Returns:
        Keys (0 where null) and whether each is null, `[n]` each.
    """
    values = to_id_values(text_of_key(array) if family(array.type) == "time" else array, place)
    missing = null_mask(values)
    if pa.types.is_string(values.type):
        keys = hash_strings(values).view(np.int64)
    else:
        keys = pc.fill_null(values, 0).to_numpy(zero_copy_only=False)
    return np.where(missing, 0, keys) if missing.any() else keys, missing


def to_times(array: pa.Array, place: Place) -> Int64:
    """Converts times to integers that order alike `[n]`; dates and timestamps count microseconds.

    Raises:
        DataError: A time is null or NaN, or the column holds neither numbers, times nor ISO 8601 strings.
    """
    kind = family(array.type)
    if (position := first(null_mask(array))) >= 0:
        raise DataError(
            "A time is missing; the split rule needs it.",
            where=place.at(position),
            found="null",
            remedy="Fill the time, or use another split rule.",
        )
    if kind == "string":
        array, kind = parse_times(array, place), "time"
    if kind == "float":
        values, _ = to_numbers(array, place, largest=float(np.finfo(np.float64).max))
        bits = (values + 0.0).view(np.int64)
        return np.where(bits < 0, bits ^ np.int64(2**63 - 1), bits)
    if kind not in ("int", "time", "time of day", "duration", "bool", "null"):
        raise DataError(
            "This column holds no times.", where=place.at(0), expected="number, timestamp, date", found=kind
        )
    times: Int64 = _counted(array, kind, place).to_numpy(zero_copy_only=False)
    return times


def _counted(array: pa.Array, kind: str, place: Place) -> pa.Array:
    """Converts times to int64."""

    def count(values: pa.Array) -> pa.Array:
        if kind == "time":
            values = to_microseconds(values)
        elif pa.types.is_time32(values.type):
            values = values.cast(pa.int32())
        return values.cast(pa.int64())

    try:
        return count(array)
    except pa.ArrowInvalid as error:
        position = first_failing(len(array), lambda low, high: count(array.slice(low, high - low)))
        raise DataError(
            "A time is out of range.",
            where=place.at(position),
            expected="a number below 2**63, or a time within 292,000 years of 1970",
            found=str(error).splitlines()[0],
        ) from error


def parse_times(array: pa.Array, place: Place) -> pa.Array:
    """Reads ISO 8601 text as instants, nulls kept.

    Raises:
        DataError: A value is no such text.
    """
    try:
        return to_instants(array)
    except pa.ArrowInvalid as error:
        position = first_failing(len(array), lambda low, high: to_instants(array.slice(low, high - low)))
        raise DataError(
            "A time cannot be read.",
            where=place.at(position),
            expected="number, timestamp, date or ISO 8601 text, with a zone (Z, +08:00) or without",
            found=f"{array[position].as_py()!r:.200}",
            remedy="Correct the value; other notations must be converted before.",
        ) from error


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
