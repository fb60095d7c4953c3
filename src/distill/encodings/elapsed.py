"""Times of several notations as microseconds since 1970 UTC, to be subtracted from one another."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from distill.encodings.arrow import Bool, Int64, family, null_mask, to_microseconds
from distill.encodings.place import Place
from distill.encodings.text import converted
from distill.encodings.times import parse_times
from distill.encodings.values import first, to_numbers
from distill.errors import DataError
from distill.schema import Epoch

MICROSECONDS = {"seconds": 1e6, "minutes": 6e7, "hours": 3.6e9, "days": 8.64e10}
"""In each unit of a difference."""
_PER_TICK = {"seconds": 1_000_000, "milliseconds": 1_000, "microseconds": 1}
_FARTHEST = 2**62
"""Microseconds from 1970 on either side: the difference of two such times has 64 bits."""


def to_epoch(array: pa.Array, place: Place, epoch: Epoch | None, nan_is_missing: bool = False) -> tuple[Int64, Bool]:
    """Converts times to microseconds since 1970 UTC; finer parts are cut off, and a time without a zone is UTC.

    Args:
        array: Timestamps, dates, ISO 8601 text, numbers or null `[n]`.
        place: Of the array.
        epoch: What numbers count.
        nan_is_missing: Whether a NaN is a null rather than an error.

    Returns:
        Times (0 where missing) and whether each is missing, `[n]` each.

    Raises:
        DataError: The column holds something else, numbers without `epoch`, or a time that cannot be read.
    """
    kind, missing = family(array.type), null_mask(array)
    if kind == "null":
        return np.zeros(len(array), np.int64), missing
    if kind in ("int", "float"):
        return _of_numbers(array, place, epoch, nan_is_missing)
    if kind == "string":
        array = parse_times(array, place)
    elif kind != "time":
        raise DataError(
            "This column holds no times.",
            where=place.at(0),
            expected="timestamps, dates, ISO 8601 text, or numbers since 1970",
            found=kind,
        )
    counted = _checked(array, place, lambda values: pc.fill_null(to_microseconds(values).cast(pa.int64()), 0))
    times: Int64 = counted.to_numpy(zero_copy_only=False)
    return _in_range(times, place), missing


def _of_numbers(array: pa.Array, place: Place, epoch: Epoch | None, nan_is_missing: bool) -> tuple[Int64, Bool]:
    if epoch is None:
        if not len(known := np.flatnonzero(~null_mask(array))):
            return np.zeros(len(array), np.int64), null_mask(array)
        raise DataError(
            "A time is a number without a unit.",
            where=place.at(int(known[0])),
            expected="timestamps, dates or ISO 8601 text, or `made.epoch` on the field",
            found=repr(array[int(known[0])].as_py()),
            remedy="Say it in the schema: `made: {type: difference, …, epoch: seconds}` "
            "(or milliseconds, microseconds, nanoseconds).",
        )
    if array.type == pa.int64():
        missing = null_mask(array)
        whole: Int64 = pc.fill_null(array, 0).to_numpy(zero_copy_only=False)
        if epoch == "nanoseconds":
            return whole // 1000, missing
        per_tick = _PER_TICK[epoch]
        if (position := first(np.abs(whole // 2) > _FARTHEST // per_tick // 2)) >= 0:
            raise _out_of_range(place, position, repr(int(whole[position])))
        return whole * per_tick, missing
    numbers, missing = to_numbers(array, place, "missing" if nan_is_missing else "error")
    with np.errstate(over="ignore"):
        ticks = np.floor(numbers / 1000.0) if epoch == "nanoseconds" else np.rint(numbers * _PER_TICK[epoch])
    if (position := first(np.abs(ticks) > _FARTHEST)) >= 0:
        raise _out_of_range(place, position, repr(float(numbers[position])))
    return ticks.astype(np.int64), missing


def _in_range(times: Int64, place: Place) -> Int64:
    if (position := first((times > _FARTHEST) | (times < -_FARTHEST))) >= 0:
        raise _out_of_range(place, position, f"{int(times[position])} microseconds")
    return times


def _checked(array: pa.Array, place: Place, convert: Callable[[pa.Array], pa.Array]) -> pa.Array:
    return converted(array, convert, lambda position, _: _out_of_range(place, position, str(array[position])))


def _out_of_range(place: Place, position: int, found: str) -> DataError:
    return DataError(
        "A time is out of range.", where=place.at(position), expected="within 146,000 years of 1970", found=found
    )
