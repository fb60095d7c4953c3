"""Checked conversions of raw columns of times."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from distill.encodings.arrow import Int64, family, null_mask, to_microseconds
from distill.encodings.place import Place
from distill.encodings.text import converted, to_instants
from distill.encodings.values import first, to_numbers
from distill.errors import DataError


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

    def out_of_range(position: int, error: pa.ArrowInvalid) -> DataError:
        return DataError(
            "A time is out of range.",
            where=place.at(position),
            expected="a number below 2**63, or a time within 292,000 years of 1970",
            found=str(error).splitlines()[0],
        )

    return converted(array, count, out_of_range)


def parse_times(array: pa.Array, place: Place) -> pa.Array:
    """Reads ISO 8601 text as instants, nulls kept.

    Raises:
        DataError: A value is no such text.
    """

    def unreadable(position: int, _: pa.ArrowInvalid) -> DataError:
        return DataError(
            "A time cannot be read.",
            where=place.at(position),
            expected="number, timestamp, date or ISO 8601 text, with a zone (Z, +08:00) or without",
            found=f"{array[position].as_py()!r:.200}",
            remedy="Correct the value; other notations must be converted before.",
        )

    return converted(array, to_instants, unreadable)
