"""Raw values as they come with a request, as columns that encodings read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa

from distill.encodings import EncodedField, FittedEncodings, SideArrays
from distill.encodings.arrow import combine, to_plain
from distill.encodings.fitted import RawColumn
from distill.encodings.place import Place
from distill.encodings.values import first, to_float32, to_numbers
from distill.errors import DataError
from distill.schema import FieldSpec, Schema
from distill.serving.scores import Float32

Values: TypeAlias = "Sequence[Any] | pa.Array | pa.ChunkedArray"
Columns = Mapping[str, pa.Array]


def as_columns(
    values: Mapping[str, Values], wanted: Sequence[str], rows: int | None, owner: str
) -> dict[str, pa.Array]:
    """Returns the raw columns that a model reads.

    Args:
        values: Column to its values, more columns than are wanted perhaps.
        wanted: Which.
        rows: How many values each has; None if the first says it.
        owner: What has them, for errors: `request` or `candidates`.

    Raises:
        DataError: A column is missing, has another number of values, or values of several types.
    """
    found = {}
    for name in wanted:
        if name not in values:
            raise DataError(
                "A raw column is missing.",
                where=f"{owner}, column {name!r}",
                expected=", ".join(wanted),
                found=", ".join(values) or "none",
                remedy="Give the column; a value that is not known is null.",
            )
        found[name] = as_array(values[name], f"{owner}, column {name!r}")
        rows = len(found[name]) if rows is None else rows
        if len(found[name]) != rows:
            raise DataError(
                "A column has another number of values than there are rows.",
                where=f"{owner}, column {name!r}",
                expected=f"{rows} values",
                found=f"{len(found[name])}",
            )
    return found


def as_array(values: Values, where: str) -> pa.Array:
    """Returns values as a plain Arrow array; unsigned integers beyond 2⁶³ stay what they are.

    Raises:
        DataError: They are of several types, or of none that Arrow knows.
    """
    try:
        return to_plain(values if isinstance(values, pa.Array | pa.ChunkedArray) else _array(list(values)))
    except (pa.ArrowException, OverflowError, TypeError, ValueError) as error:
        raise DataError(
            "The values of a column are not of one type.",
            where=where,
            found=" ".join(str(error).split())[:200],
            remedy="Give numbers, texts or lists of these, of one type, and null where a value is not known.",
        ) from error


def _array(values: list[Any]) -> pa.Array:
    try:
        return pa.array(values)
    except OverflowError:
        return pa.array(values, pa.uint64())


def encode_fields(
    fields: Sequence[FieldSpec], fitted: FittedEncodings, columns: Columns, rows: int, owner: str
) -> SideArrays:
    """Encodes raw columns as training did.

    Args:
        fields: Of one side.
        fitted: Their encodings.
        columns: Raw column to its values.
        rows: Of the side.
        owner: What has the columns, for errors.

    Raises:
        DataError: A column does not hold what its field says.
    """
    raw: dict[str, RawColumn] = {
        spec.name: (
            spec,
            columns[spec.column],
            Place(spec.column, f"field {spec.name!r}", lambda row: f"{owner}, row {row}"),
        )
        for spec in fields
    }
    encoded: dict[str, EncodedField] = {}
    for spec in fields:
        groups = [raw[name] for name in spec.cold.by] if spec.cold is not None else []
        encoded[spec.name] = fitted.encode(*raw[spec.name], by=groups)
    return SideArrays.of(fields, encoded, rows)


def score_columns(schema: Schema, columns: Columns) -> dict[str, Float32]:
    """Reads the columns of the ranking score `[N]`.

    Raises:
        DataError: A number is missing or not positive.
    """
    found = {}
    for name in schema.score.columns:
        place = Place(name, "score column", lambda row: f"candidates, row {row}")
        numbers, missing = to_numbers(combine(columns[name]), place)
        if (position := first(missing | (numbers <= 0))) >= 0:
            raise DataError(
                "A column of the ranking score must be positive.",
                where=place.at(position),
                expected="a number above 0",
                found="null" if missing[position] else repr(float(numbers[position])),
            )
        found[name] = np.asarray(to_float32(numbers, place))
    return found
