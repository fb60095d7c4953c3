"""Raw values as they come with a request, as columns that encodings read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from distill.encodings import EncodedField, FittedEncodings, SideArrays
from distill.encodings.arrow import Int64, combine, to_plain
from distill.encodings.declared import DeclaredColumns
from distill.encodings.fitted import RawColumn
from distill.encodings.made import read_field
from distill.encodings.place import Place
from distill.encodings.values import to_float32, to_positive
from distill.errors import DataError
from distill.schema import FieldSpec, Schema, Side
from distill.serving.inputs import REQUEST
from distill.serving.scores import Float32

Values: TypeAlias = "Sequence[Any] | pa.Array | pa.ChunkedArray"
Columns = Mapping[str, pa.Array]
_ARROW_TAKES = {f"{kind}{size}" for kind in "iu" for size in (1, 2, 4, 8)} | {"f4", "f8", "b1"}


def as_mapping(values: object, owner: str) -> Mapping[str, Any]:
    """Returns columns by name.

    Args:
        values: A mapping, or a table of Arrow's; None stands for no column.
        owner: What has them, for errors.

    Raises:
        DataError: They are something else.
    """
    if isinstance(values, pa.Table | pa.RecordBatch):
        return dict(zip(values.schema.names, values.columns, strict=True))
    if values is None or isinstance(values, Mapping):
        return values or {}
    raise DataError(
        "Raw values must be given by column.",
        where=owner,
        expected="a mapping of column to values, or an Arrow table",
        found=type(values).__name__,
        remedy="For a data frame, pass dict(frame).",
    )


def count_values(values: Values, where: str) -> int:
    """Counts the values of a column.

    Raises:
        DataError: It is not a list, or a text, which has a length too.
    """
    if isinstance(values, str | bytes | Mapping) or not hasattr(values, "__len__"):
        raise DataError(
            "A column must be a list of values.", where=where, expected="a list of values", found=type(values).__name__
        )
    return len(values)


def as_counts(counts: Sequence[int] | npt.NDArray[Any]) -> Int64:
    """Returns the number of candidates of each request `[R]`.

    Raises:
        DataError: They are not whole numbers from 0 on.
    """
    found = np.asarray(counts)
    if found.ndim == 1 and (len(found) == 0 or (found.dtype.kind in "iu" and int(found.min()) >= 0)):
        return found.astype(np.int64)
    raise DataError(
        "The numbers of candidates of requests cannot be read.",
        where="counts",
        expected="a whole number from 0 on for each request",
        found=f"{counts!r:.100}",
    )


def as_columns(
    values: Mapping[str, Values], wanted: Sequence[str], rows: int, owner: str, declared: DeclaredColumns
) -> dict[str, pa.Array]:
    """Returns the raw columns that a model reads.

    Args:
        values: Column to its values, more columns than are wanted perhaps.
        wanted: Which.
        rows: How many values each has.
        owner: What has them, for errors: `request` or `candidates`.
        declared: What the schema declares of raw columns.

    Raises:
        DataError: A column is missing, has another number of values, values of several types, or one that cannot be
            taken as what the column is declared to be.
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
        found[name] = read_column(name, values[name], owner, declared)
        if len(found[name]) != rows:
            raise DataError(
                "A column has another number of values than there are rows.",
                where=f"{owner}, column {name!r}",
                expected=f"{rows} values",
                found=f"{len(found[name])}",
            )
    return found


def read_column(name: str, values: Values, owner: str, declared: DeclaredColumns) -> pa.Array:
    """Returns the values of a column as those of a log are read.

    Args:
        name: Of the column.
        values: Its values.
        owner: What has it, for errors.
        declared: What the schema declares of raw columns.

    Raises:
        DataError: See `as_columns`.
    """
    array = as_array(values, f"{owner}, column {name!r}")
    if not declared.concerns(name):
        return array
    return declared.read(name, array, Place(name, "raw.columns", lambda row: f"{owner}, row {row}"))


def _is_numbers(values: Values) -> bool:
    """Whether Arrow takes an array as it is: one by one, each number would become an object of Python's."""
    return isinstance(values, np.ndarray) and values.dtype.isnative and values.dtype.str[1:] in _ARROW_TAKES


def as_array(values: Values, where: str) -> pa.Array:
    """Returns values as a plain Arrow array; unsigned integers beyond 2⁶³ stay what they are.

    Raises:
        DataError: They are of several types, or of none that Arrow knows.
    """
    count_values(values, where)
    try:
        if isinstance(values, pa.Array | pa.ChunkedArray):
            return to_plain(values)
        return to_plain(pa.array(values) if _is_numbers(values) else _array(list(values)))
    except (pa.ArrowException, OverflowError, TypeError, ValueError) as error:
        raise DataError(
            "The values of a column have different types.",
            where=where,
            expected="numbers of 64 bits, texts or lists of these, all of one type",
            found=" ".join(str(error).split())[:200],
            remedy="Give values of one type, and null where one is not known.",
        ) from error


def _array(values: list[Any]) -> pa.Array:
    try:
        return pa.array(values)
    except OverflowError:
        in_lists = any(isinstance(value, list | tuple | np.ndarray) for value in values)
        return pa.array(values, pa.list_(pa.uint64()) if in_lists else pa.uint64())


@dataclass(frozen=True)
class RequestColumns:
    """What fields of pairs are made of beside columns of candidates.

    Attributes:
        columns: Raw column to its values, one for each request.
        index: Request of each candidate `[N]`.
    """

    columns: Columns
    index: Int64


def encode_fields(
    fields: Sequence[FieldSpec],
    fitted: FittedEncodings,
    columns: Columns,
    rows: int,
    owner: str,
    of_requests: RequestColumns | None = None,
) -> SideArrays:
    """Encodes raw columns as training did.

    Args:
        fields: Of one side.
        fitted: Their encodings.
        columns: Raw column to its values.
        rows: Of the side.
        owner: What has the columns, for errors.
        of_requests: Columns of requests, where fields of candidates are made of them too.

    Raises:
        DataError: A column does not hold what its field says.
    """

    def find(name: str, side: Side, use: str) -> tuple[pa.Array, Place]:
        if side is Side.REQUEST and of_requests is not None:
            return of_requests.columns[name], Place(name, use, lambda row: f"{REQUEST}, row {row}")
        return columns[name], Place(name, use, lambda row: f"{owner}, row {row}")

    index = None if of_requests is None else of_requests.index
    raw: dict[str, RawColumn] = {spec.name: (spec, *read_field(spec, find, index)) for spec in fields}
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
        numbers, _ = to_positive(combine(columns[name]), place)
        found[name] = np.asarray(to_float32(numbers, place))
    return found
