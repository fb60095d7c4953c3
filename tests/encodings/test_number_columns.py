"""Columns of plain numbers are encoded at once as Arrow's way encodes them, or left to it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distill.encodings import FittedEncodings
from distill.encodings.number_columns import NumberColumns
from distill.encodings.numbers import FittedNumber, piecewise_number
from distill.encodings.place import Place
from distill.encodings.rows import NotPlainError
from distill.errors import DataError
from distill.schema import FieldSpec, RawColumns, Schema, parse_schema
from distill.serving.columns import as_array

ENCODINGS: dict[str, tuple[Any, FittedNumber]] = {
    "standardise": ("standardise", FittedNumber(log=False, shift=2.5, scale=3.0, fill=0.0)),
    "log": ("log", FittedNumber(log=True, shift=0.5, scale=1.5, fill=0.25)),
    "identity": ("identity", FittedNumber(log=False, shift=0.0, scale=1.0, fill=0.0)),
    "bins": ({"type": "piecewise_linear", "bins": 3}, piecewise_number(3, np.array([0.0, 2.0]), -5.0, 9.0)),
}


def _schema(nan: str = "error") -> Schema:
    fields = [
        {"name": name, "side": "cross", "kind": "number", "encoding": encoding, "nan": nan}
        for name, (encoding, _) in ENCODINGS.items()
    ]
    content = {"name": "s", "layout": "requests", "keys": {"request": "r"}, "fields": fields, "tasks": [{"name": "y"}]}
    return parse_schema({**content, "duplicates": "keep"}, "test")


def _fitted() -> FittedEncodings:
    return FittedEncodings({}, {name: number for name, (_, number) in ENCODINGS.items()})


def _all(values: Any) -> dict[str, Any]:
    """The same values for every field."""
    return dict.fromkeys(ENCODINGS, values)


def _by_arrow(fields: tuple[FieldSpec, ...], columns: dict[str, Any]) -> np.ndarray:
    fitted = _fitted()
    encoded = [
        fitted.encode(spec, as_array(columns[spec.name], spec.name), Place(spec.name, "field")).array for spec in fields
    ]
    return np.stack([array.to_numpy(zero_copy_only=False) for array in encoded], axis=1)


FLOATS = st.one_of(
    st.none(),
    st.floats(width=64, allow_nan=True, allow_infinity=True),
    st.sampled_from([0.0, -0.0, 1e100, 1e101, 3.5e38]),
)
INTEGERS = st.integers(-(2**64), 2**64)
VALUES = st.one_of(
    st.lists(FLOATS, min_size=3, max_size=3),
    st.lists(st.integers(-(2**53), 2**53), min_size=3, max_size=3),
    st.lists(INTEGERS, min_size=3, max_size=3),
    st.lists(st.one_of(FLOATS, INTEGERS, st.booleans(), st.text(max_size=2)), min_size=3, max_size=3),
)


@given(columns=st.fixed_dictionaries(dict.fromkeys(ENCODINGS, VALUES)), nan=st.sampled_from(["error", "missing"]))
def test_any_lists(columns: dict[str, list[Any]], nan: str) -> None:
    fields = _schema(nan).fields
    try:
        found = NumberColumns(fields, _fitted()).encode(columns, 3)
    except NotPlainError:
        return
    np.testing.assert_array_equal(found, _by_arrow(fields, columns))


@pytest.mark.parametrize("kind", ["<f4", "<f8", "<i4", "<i8"])
@pytest.mark.parametrize("arrow", [False, True])
def test_arrays(kind: str, arrow: bool) -> None:
    values = np.array([3, -7, 0, 12345], kind)
    column = pa.array(values) if arrow else values
    fields = _schema().fields
    found = NumberColumns(fields, _fitted()).encode(_all(column), 4)
    np.testing.assert_array_equal(found, _by_arrow(fields, _all(column)))
    assert found.dtype == np.float32


def test_nulls_get_the_fill_of_their_field() -> None:
    found = NumberColumns(_schema().fields, _fitted()).encode(_all([None, 2.5]), 2)
    assert found[0].tolist() == [number.fill for _, number in ENCODINGS.values()]
    assert found[1, 0] == 0.0


@pytest.mark.parametrize(
    "values",
    [
        [1.0],
        [1.0, True],
        [1, True],
        ["1", "2"],
        [1.0, float("nan")],
        [1.0, float("inf")],
        [2**53 + 1, 0],
        1.5,
        None,
        np.array([1, 2], np.int8),
        np.array([[1.0], [2.0]]),
        pa.array([1.0, None]),
    ],
)
def test_what_is_not_plain_is_left_to_arrow(values: Any) -> None:
    encoder = NumberColumns(_schema().fields, _fitted())
    with pytest.raises(NotPlainError):
        encoder.encode({**_all([1.0, 2.0]), "log": values}, 2)


def test_numbers_too_large_for_float32_are_left_to_arrow() -> None:
    fields, columns = _schema().fields, {**_all([1.0]), "identity": [1e39]}
    with pytest.raises(NotPlainError):
        NumberColumns(fields, _fitted()).encode(columns, 1)
    with pytest.raises(DataError, match="too large for float32"):
        _by_arrow(fields, columns)


def test_fields_that_are_declared_or_no_numbers_are_not_taken() -> None:
    fields = _schema().fields
    assert NumberColumns.takes(fields, RawColumns())
    assert NumberColumns.takes(fields, RawColumns(null_values=("-",)))
    assert not NumberColumns.takes(fields, RawColumns(columns={"log": "number"}))
    other = FieldSpec(name="id", side="cross", kind="id")  # type: ignore[arg-type]
    assert not NumberColumns.takes((*fields, other), RawColumns())
