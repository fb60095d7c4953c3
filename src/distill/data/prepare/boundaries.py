"""Dates as values of the column that they are held against."""

from __future__ import annotations

import math

import pyarrow as pa

from distill.data.split import UNITS, instant
from distill.encodings.arrow import family
from distill.encodings.place import Place
from distill.encodings.times import to_times
from distill.errors import ConfigError


def boundary(value: str | int | float, kind: pa.DataType, unit: str | None, where: str, column: str) -> int:
    """Returns the least time, as `to_times` makes them of a column, that is not before a value.

    Args:
        value: ISO 8601, or a number.
        kind: Plain type of the column.
        unit: What numbers of the column count since 1970, if `value` is a date.
        where: The key of the config.
        column: Named in errors.

    Raises:
        ConfigError: The value and the column are of different kinds.
    """
    found = family(kind)
    is_number = found in ("int", "float", "bool")
    if not is_number and found not in ("time", "string", "null"):
        raise ConfigError(
            f"Column {column!r} holds no dates.", where=where, expected="dates, times or numbers", found=found
        )
    if not is_number:
        if not isinstance(value, str) or unit is not None:
            raise ConfigError(
                f"Column {column!r} holds dates.",
                where=where,
                expected="a date or time in ISO 8601, and no unit",
                found=repr(value) if not isinstance(value, str) else f"unit {unit}",
            )
        return instant(value, where)
    if isinstance(value, str):
        if unit is None:
            raise ConfigError(
                f"Column {column!r} holds numbers, and the boundary is a date.",
                where=where,
                expected="a number, or the unit that the column counts since 1970: s, ms, us or ns",
                found=repr(value),
                remedy="Add data.adapter.split.unit=s, say.",
            )
        value = -(-instant(value, where) * UNITS[unit] // UNITS["us"])
    if found == "float":
        return int(to_times(pa.array([float(value)]), Place(column, "split column"))[0])
    return math.ceil(value)
