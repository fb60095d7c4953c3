"""Encodes columns of plain numbers at the speed of a request; says nothing of values that are not plain.

Each column goes through several calls of Arrow, whose cost a request of a thousand candidates feels. Floats and
integers, nulls among them, are encoded here instead, with the same result. Whatever else a column holds (other types,
numbers that are wrong) is left to Arrow's way, which names what is wrong with it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from distill.encodings.fitted import FittedEncodings
from distill.encodings.rows import NotPlainError
from distill.encodings.values import EXACT, LARGEST, LARGEST_FLOAT32, Float64, all_within
from distill.schema import FieldSpec, RawColumns

_FLOATS, _INTEGERS = {float, type(None)}, {int}
_ARROW_TYPES = (pa.float32(), pa.float64(), pa.int32(), pa.int64())
_TYPES = {"f4", "f8", "i4", "i8"}


class NumberColumns:
    """Encodes the columns of fields that are numbers.

    Args:
        fields: Of one side; see `takes`.
        fitted: Their encodings.
    """

    def __init__(self, fields: Sequence[FieldSpec], fitted: FittedEncodings) -> None:
        self._columns = [(f.column, fitted.numbers[f.name], f.nan == "missing") for f in fields]

    @staticmethod
    def takes(fields: Sequence[FieldSpec], raw: RawColumns) -> bool:
        """Whether fields are numbers as they come: not made of other columns, and nothing is declared of theirs."""
        declared = {*raw.columns, *(raw.delimiters or {})}
        return all(f.is_number and f.made is None and f.column not in declared for f in fields)

    def encode(self, values: Mapping[str, Any], rows: int) -> npt.NDArray[np.float32]:
        """Encodes columns.

        Args:
            values: Raw column to its values `[rows]`; columns that no field reads do not matter.
            rows: How many.

        Returns:
            `[rows, M]`, the fields in their order.

        Raises:
            NotPlainError: A column is missing or of another length, or a value is not plain.
        """
        out = np.empty((rows, len(self._columns)), np.float32)
        for place, (column, number, nan_is_missing) in enumerate(self._columns):
            raw, missing = _plain(values.get(column), nan_is_missing)
            if len(raw) != rows or not all_within(raw, LARGEST):
                raise NotPlainError
            scaled = number.scaled(raw)
            if missing is not None:
                scaled[missing] = number.fill
            with np.errstate(over="ignore"):
                out[:, place] = scaled
        if not all_within(out, LARGEST_FLOAT32):
            raise NotPlainError
        return out


def _plain(values: Any, nan_is_missing: bool) -> tuple[Float64, npt.NDArray[np.bool_] | None]:
    """Returns numbers, 0 for missing ones, and which are missing, if any is."""
    if isinstance(values, pa.Array) and values.null_count == 0 and values.type in _ARROW_TYPES:
        values = values.to_numpy()
    if isinstance(values, np.ndarray):
        return _of_array(values, nan_is_missing, 0)
    if type(values) not in (list, tuple):
        raise NotPlainError
    kinds = set(map(type, values))
    if not (kinds <= _FLOATS or kinds == _INTEGERS):
        raise NotPlainError
    try:
        array = np.array(values, np.int64 if kinds == _INTEGERS else np.float64)
    except OverflowError as error:
        raise NotPlainError from error
    return _of_array(array, nan_is_missing, values.count(None) if type(None) in kinds else 0)


def _of_array(array: npt.NDArray[Any], nan_is_missing: bool, nulls: int) -> tuple[Float64, Any]:
    """See `_plain`; `nulls` is how many NaN stand for null."""
    if array.ndim != 1 or not array.dtype.isnative or array.dtype.str[1:] not in _TYPES:
        raise NotPlainError
    if array.dtype.kind == "i":
        if array.dtype.itemsize == 8 and not all_within(array, int(EXACT)):
            raise NotPlainError
        return array.astype(np.float64), None
    numbers = array.astype(np.float64, copy=False)
    unknown = np.isnan(numbers)
    count = int(unknown.sum())
    if count == 0:
        return numbers, None
    if count != nulls and not nan_is_missing:
        raise NotPlainError
    return np.where(unknown, 0.0, numbers), unknown
