"""Encodes one row of plain Python values at the speed of a request; says nothing of values that are not plain.

Columns go through Arrow, which costs more for one value than for a thousand. A row of texts, integers, floats, lists
and nulls is looked up here instead, with the same result. Whatever else it holds (other types, values that are wrong)
is left to the columns, which name what is wrong with it.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from distill.encodings.fitted import FittedEncodings
from distill.encodings.hashing import hash_integer, hash_text
from distill.encodings.key_table import KeyTable
from distill.encodings.numbers import FittedNumber, signed_log
from distill.encodings.side import SequenceValues, SideArrays
from distill.encodings.tables import FittedHash, FittedIds, FittedQuantiles, FittedVocabulary, TableEncoder
from distill.encodings.tokens import LONGEST, FittedText
from distill.encodings.values import LARGEST, LARGEST_FLOAT32
from distill.schema import MISSING_ID, NUM_RESERVED, OOV_ID, FieldSpec, Kind, RawColumns

_MOST_VALUES = 2_000_000  # of a vocabulary as a dictionary: about 100 bytes each
_AS_IT_IS = FittedNumber(log=False, shift=0.0, scale=1.0, fill=0.0)

_PLAIN: dict[str, type[Any]] = {"text": str, "integer": int, "number": float, "boolean": bool, "time": object}

Lookup = Callable[[Any], int]


class NotPlainError(Exception):
    """A value that columns must look at."""


class RowEncoder:
    """Encodes rows of one side.

    Args:
        fields: Of the side.
        fitted: Their encodings.
        raw: What the schema declares of raw columns.
    """

    def __init__(self, fields: Sequence[FieldSpec], fitted: FittedEncodings, raw: RawColumns | None = None) -> None:
        raw = raw or RawColumns()
        self._nulls = frozenset(raw.null_values or ())
        columns = dict.fromkeys(f.column for f in fields)
        self._delimiters = {name: text for name, text in (raw.delimiters or {}).items() if name in columns}
        self._declared = [
            (name, _PLAIN[raw.columns[name]] if name in raw.columns else None)
            for name in columns
            if self._nulls or name in raw.columns
        ]
        tables: dict[str, Lookup] = {}
        for spec in fields:
            if spec.encoding.makes_ids and spec.table not in tables:
                tables[spec.table] = _lookup(fitted.tables[spec.table])
        self._ids = [(f.column, _of_field(f, tables[f.table])) for f in fields if f.is_id]
        self._sequences = [(f.name, f.column, tables[f.table], f.max_length) for f in fields if f.kind is Kind.SEQUENCE]
        self._texts = [
            (f.name, f.column, tables[f.table], f.max_length, fitted.texts[f.table])
            for f in fields
            if f.kind is Kind.TEXT
        ]
        self._vectors = [(f.name, f.column, f.width or 0) for f in fields if f.kind is Kind.VECTOR]
        self._vector_lists = [(f.name, f.column, f.width or 0, f.max_length) for f in fields if f.kind is Kind.VECTORS]
        self._numbers = [(f.column, f.nan == "missing") for f in fields if f.is_number]
        numbers = [fitted.numbers[f.name] for f in fields if f.is_number]
        self._embedded = [(place, number) for place, number in enumerate(numbers) if number.embedded]
        scaled = [_AS_IT_IS if number.embedded else number for number in numbers]
        self._log = np.array([n.log for n in scaled], np.bool_)
        self._shift, self._scale = (
            np.array([getattr(n, name) for n in scaled], np.float64) for name in ("shift", "scale")
        )
        self._fill = np.array([n.fill for n in numbers], np.float64)

    def encode(self, values: Mapping[str, Any]) -> SideArrays:
        """Encodes one row.

        Args:
            values: Raw column to its value; columns that no field reads do not matter.

        Raises:
            NotPlainError: A column is missing, or a value is not plain.
        """
        try:
            if self._delimiters:
                values = self._split(values)
            for column, kind in self._declared:
                self._check_declared(values[column], kind)
            ids = np.array([[lookup(values[column]) for column, lookup in self._ids]], np.int64).reshape(1, -1)
            sequences: dict[str, tuple[SequenceValues, npt.NDArray[np.int64]]] = {
                name: _sequence(values[column], look, most) for name, column, look, most in self._sequences
            }
            for name, column, width, most in self._vector_lists:
                sequences[name] = _vector_list(values[column], width, most)
            for name, column, look, most, text in self._texts:
                sequences[name] = _tokens(values[column], look, most, text)
            vectors = {name: _vector(values[column], width) for name, column, width in self._vectors}
            return SideArrays(ids, self._encoded_numbers(values), vectors, sequences)
        except (KeyError, UnicodeEncodeError) as error:
            raise NotPlainError from error

    def _split(self, values: Mapping[str, Any]) -> Mapping[str, Any]:
        """Takes text apart; what is not text then is left to the columns, which convert it."""
        lists = {}
        for name, delimiter in self._delimiters.items():
            if type(value := values[name]) is str:
                if self._is_word_for_null(value):
                    raise NotPlainError
                lists[name] = [item or None for item in value.split(delimiter)] if value else []
        return {**values, **lists}

    def _check_declared(self, value: Any, kind: type[Any] | None) -> None:
        """Leaves to the columns what is not of the type that is declared, and words for null."""
        for item in value if type(value) in (list, tuple) else (value,):
            if item is not None and ((kind is not None and type(item) is not kind) or self._is_word_for_null(item)):
                raise NotPlainError

    def _is_word_for_null(self, value: Any) -> bool:
        return type(value) is str and value in self._nulls

    def _encoded_numbers(self, values: Mapping[str, Any]) -> npt.NDArray[np.float32]:
        if not self._numbers:
            return np.zeros((1, 0), np.float32)
        raw = np.array([_number(values[column], missing) for column, missing in self._numbers], np.float64)
        unknown = np.isnan(raw)
        if unknown.any():
            raw[unknown] = 0.0
        if self._log.any():
            raw[self._log] = signed_log(raw[self._log])
        scaled = (raw - self._shift) / self._scale
        for place, number in self._embedded:
            scaled[place] = number.scaled(scaled[place : place + 1])[0]
        if unknown.any():
            scaled[unknown] = self._fill[unknown]
        if np.abs(scaled).max() > LARGEST_FLOAT32:
            raise NotPlainError
        return scaled.astype(np.float32).reshape(1, -1)


def _number(value: Any, nan_is_missing: bool) -> float:
    """Returns a number, NaN for a missing one."""
    if value is None:
        return float("nan")
    kind = type(value)
    is_whole = kind is bool or (kind is int and -(2**53) <= value <= 2**53)
    if not is_whole and kind is not float:
        raise NotPlainError
    number = float(value)
    if not abs(number) <= LARGEST and not (number != number and nan_is_missing):
        raise NotPlainError
    return number


def _of_field(spec: FieldSpec, lookup: Lookup) -> Lookup:
    """A value that is unknown may belong to a group, which other columns say."""
    if spec.cold is None:
        return lookup

    def look(value: Any) -> int:
        found = lookup(value)
        if found == OOV_ID:
            raise NotPlainError
        return found

    return look


def _lookup(encoder: TableEncoder) -> Lookup:
    if isinstance(encoder, FittedVocabulary):
        return _of_vocabulary(encoder)
    if isinstance(encoder, FittedHash):
        return _of_hash(encoder)
    if isinstance(encoder, FittedIds):
        return _of_ids(encoder)
    if isinstance(encoder, FittedQuantiles):
        return _of_quantiles(encoder)
    raise TypeError(type(encoder).__name__)


def _of_vocabulary(encoder: FittedVocabulary, most: int = _MOST_VALUES) -> Lookup:
    kind: type[Any] = str if encoder.kind == "string" else int
    if len(encoder.values) > most:
        return _of_large_vocabulary(encoder, kind)
    known: dict[Any, int] = dict(
        zip(encoder.values.to_pylist(), range(NUM_RESERVED, NUM_RESERVED + len(encoder.values)), strict=True)
    )
    get = known.get

    def look(value: Any) -> int:
        if type(value) is kind and (kind is str or -(2**63) <= value < 2**63):
            return get(value, OOV_ID)
        if value is None:
            return MISSING_ID
        raise NotPlainError

    return look


def _of_large_vocabulary(encoder: FittedVocabulary, kind: type[Any]) -> Lookup:
    """Looks up in the arrays: slower, but of some bytes for each value."""
    table = KeyTable(encoder.values)
    arrow = encoder.values.type

    def look(value: Any) -> int:
        if value is None:
            return MISSING_ID
        if type(value) is not kind or (kind is int and not -(2**63) <= value < 2**63):
            raise NotPlainError
        position = int(table.find(pa.array([value], arrow))[0])
        return position + NUM_RESERVED if position >= 0 else OOV_ID

    return look


def _of_hash(encoder: FittedHash) -> Lookup:
    kind: type[Any] = str if encoder.kind == "string" else int
    hashed: Callable[[Any], int] = hash_text if encoder.kind == "string" else hash_integer
    buckets = encoder.buckets

    def look(value: Any) -> int:
        if type(value) is kind and (kind is str or -(2**63) <= value < 2**63):
            found: int = hashed(value) % buckets + NUM_RESERVED
            return found
        if value is None:
            return MISSING_ID
        raise NotPlainError

    return look


def _of_ids(encoder: FittedIds) -> Lookup:
    count = encoder.count

    def look(value: Any) -> int:
        if type(value) is int and -(2**63) <= value < 2**63:
            found: int = value + NUM_RESERVED if 0 <= value < count else OOV_ID
            return found
        if value is None:
            return MISSING_ID
        raise NotPlainError

    return look


def _of_quantiles(encoder: FittedQuantiles) -> Lookup:
    boundaries = encoder.boundaries.tolist()

    def look(value: Any) -> int:
        number = _number(value, False)
        return MISSING_ID if number != number else bisect_right(boundaries, number) + NUM_RESERVED

    return look


def _sequence(value: Any, lookup: Lookup, most: int | None) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    if value is None:
        value = ()
    elif type(value) not in (list, tuple):
        raise NotPlainError
    found = [lookup(item) for item in value if item is not None]  # also of what is cut off: a list has one type
    ids = np.array(found if most is None else found[-most:], np.int64)
    return ids, np.array([len(ids)], np.int64)


def _tokens(
    value: Any, lookup: Lookup, most: int | None, text: FittedText
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    if value is None:
        value = ""
    elif type(value) is not str or len(value) > LONGEST // 4:
        raise NotPlainError
    value.encode()  # half a surrogate pair is left to the columns
    ids = np.array([lookup(token) for token in text.split_one(value, most)], np.int64)
    return ids, np.array([len(ids)], np.int64)


def _vector(value: Any, width: int) -> npt.NDArray[np.float32]:
    if value is None:
        return np.zeros((1, width), np.float32)
    if type(value) not in (list, tuple) or len(value) != width:
        raise NotPlainError
    if bool in map(type, value):  # a list has one type
        raise NotPlainError
    numbers = np.array([_number(item, False) for item in value], np.float64)
    if not (np.abs(numbers) <= LARGEST_FLOAT32).all():  # null inside, or too large
        raise NotPlainError
    return numbers.astype(np.float32).reshape(1, width)


def _vector_list(value: Any, width: int, most: int | None) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    if value is None:
        value = ()
    elif type(value) not in (list, tuple):
        raise NotPlainError
    found = [_vector(item, width) for item in value if item is not None]  # also what is cut off: a list has one type
    found = found if most is None else found[-most:]
    return np.concatenate([np.zeros((0, width), np.float32), *found]), np.array([len(found)], np.int64)
