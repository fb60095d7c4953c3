"""A row of plain values is encoded as a column of one value is, or left to the column."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distill.encodings import FittedEncodings, SideArrays
from distill.encodings.arrow import to_plain
from distill.encodings.hashing import hash_integer, hash_strings, hash_text, mix64
from distill.encodings.numbers import FittedNumber, piecewise_number
from distill.encodings.place import Place
from distill.encodings.rows import NotPlainError, RowEncoder, _of_vocabulary
from distill.encodings.tables import FittedHash, FittedIds, FittedQuantiles, FittedVocabulary
from distill.errors import DataError
from distill.schema import MISSING_NUMBER, FieldSpec

FIELDS = tuple(
    FieldSpec.model_validate({"side": "request", **field})
    for field in (
        {"name": "word", "kind": "id"},
        {"name": "number", "kind": "id"},
        {"name": "hashed", "kind": "id", "encoding": {"type": "hash", "buckets": 7}},
        {"name": "mixed", "kind": "id", "encoding": {"type": "hash", "buckets": 7}},
        {"name": "code", "kind": "id", "encoding": {"type": "ids", "size": 4}},
        {"name": "band", "kind": "number", "encoding": {"type": "quantile", "buckets": 4}},
        {"name": "age", "kind": "number"},
        {"name": "price", "kind": "number", "encoding": "log", "nan": "missing"},
        {"name": "plain", "kind": "number", "encoding": "identity"},
        {"name": "bins", "kind": "number", "encoding": {"type": "piecewise_linear", "bins": 4}, "nan": "missing"},
        {"name": "mix", "kind": "number", "encoding": {"type": "autodis", "buckets": 4, "log": True}},
        {"name": "past", "kind": "sequence", "table": "word", "max_length": 3},
        {"name": "taste", "kind": "vector", "width": 2},
        {"name": "felt", "kind": "vectors", "width": 2, "max_length": 3},
    )
)
FITTED = FittedEncodings(
    tables={
        "word": FittedVocabulary(pa.array(["a", "", "ü"]), np.ones(3, np.int64)),
        "number": FittedVocabulary(pa.array([5, -(2**63), 2**63 - 1]), np.ones(3, np.int64)),
        "hashed": FittedHash(7, "string"),
        "mixed": FittedHash(7, "int"),
        "code": FittedIds(4),
        "band": FittedQuantiles(4, np.array([-1.0, 0.5, 2.0])),
    },
    numbers={
        "age": FittedNumber(log=False, shift=3.0, scale=0.5, fill=0.0),
        "price": FittedNumber(log=True, shift=1.0, scale=2.0, fill=0.0),
        "plain": FittedNumber(log=False, shift=0.0, scale=1.0, fill=0.0),
        "bins": piecewise_number(4, np.array([0.0, 0.5]), -1.0, 2.0),
        "mix": FittedNumber(log=True, shift=1.0, scale=2.0, fill=MISSING_NUMBER),
    },
)
ROW: dict[str, Any] = {
    "word": "a", "number": 5, "hashed": "x", "mixed": 1, "code": 2, "band": 0.5, "age": 4.0, "price": 9.0,
    "plain": -1.5, "bins": 0.25, "mix": 4.0, "past": ["a", "b"], "taste": [0.5, 1.0],
    "felt": [[0.5, 1.0], [2.0, 3.0]],
}  # fmt: skip
ANY = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**65), 2**65), st.floats(), st.text(max_size=40),
    st.lists(st.one_of(st.none(), st.text(max_size=3), st.floats(), st.integers()), max_size=5),
    st.lists(st.one_of(st.none(), st.lists(st.one_of(st.none(), st.floats(), st.integers()), max_size=3)), max_size=5),
)  # fmt: skip


def by_columns(row: dict[str, Any]) -> SideArrays:
    encoded = {
        f.name: FITTED.encode(f, to_plain(pa.array([row[f.column]])), Place(f.column, f"field {f.name!r}"))
        for f in FIELDS
    }
    return SideArrays.of(FIELDS, encoded, 1)


def same(left: SideArrays, right: SideArrays) -> None:
    np.testing.assert_array_equal(left.ids, right.ids)
    np.testing.assert_array_equal(left.numbers, right.numbers)
    np.testing.assert_array_equal(left.vectors["taste"], right.vectors["taste"])
    for name in ("past", "felt"):
        for one, other in zip(left.sequences[name], right.sequences[name], strict=True):
            np.testing.assert_array_equal(one, other)
            assert one.dtype == other.dtype
    assert left.ids.dtype == right.ids.dtype
    assert left.numbers.dtype == right.numbers.dtype


@given(name=st.sampled_from([f.name for f in FIELDS]), value=ANY)
def test_any_value_is_encoded_alike_or_left_to_the_column(name: str, value: Any) -> None:
    row = {**ROW, name: value}
    try:
        found = RowEncoder(FIELDS, FITTED).encode(row)
    except NotPlainError:
        return
    same(found, by_columns(row))


@pytest.mark.parametrize("cut", [0.0, True, 7, b"x"])
def test_a_list_of_two_types_is_left_to_the_column_also_where_one_is_cut_off(cut: Any) -> None:
    with pytest.raises(NotPlainError):
        RowEncoder(FIELDS, FITTED).encode({**ROW, "past": ["a", cut, *["b"] * 9]})


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("word", ["a", "", "ü", "b", None]),
        ("number", [5, 6, -(2**63), 2**63 - 1, None]),
        ("hashed", ["", "x", "a longer text, of more than eight bytes", "ä" * 700, None]),
        ("mixed", [0, -1, 2**63 - 1, -(2**63), None]),
        ("code", [0, 3, 4, -1, None]),
        ("band", [-1.0, -1.5, 0.5, 2, 1e9, True, None]),
        ("age", [0, 1.5, True, None]),
        ("price", [0.0, -3.0, 1e30, math.nan, None]),
        ("plain", [1e38, None]),
        ("bins", [-1.0, -9, 0.0, 0.1, 2.0, 3.5, 1e99, -1e99, True, math.nan, None]),
        ("mix", [-3.0, 0, 1e99, None]),
        ("past", [None, [], ["a"], ["a", None, "b", "ü", ""], ["a"] * 9]),
        ("taste", [None, [1.0, 2], (-1e30, 0.0)]),
        ("felt", [None, [], [None], [[1, 2]], [[1, 2.5], None, (0.0, 3.0)], [[float(i), 0.0] for i in range(9)]]),
    ],
)
def test_plain_values_are_not_left_to_the_column(name: str, values: list[Any]) -> None:
    encoder = RowEncoder(FIELDS, FITTED)
    for value in values:
        row = {**ROW, name: value}
        same(encoder.encode(row), by_columns(row))


@pytest.mark.parametrize(
    ("name", "value"),
    [("word", 3), ("number", "a"), ("number", 2**63), ("number", 5.0), ("age", math.inf), ("age", math.nan),
     ("past", "a"), ("felt", [[1.0]]), ("felt", [1.0, 2.0]), ("felt", [["a", "b"], *[[0.0, 0.0]] * 3]),
     ("felt", [[math.nan, 0.0]]),
     ("taste", [1.0]), ("taste", [1.0, None]), ("taste", [True, 1.0]), ("hashed", "\ud800"),
     ("plain", 1e39), ("word", np.str_("a"))],
)  # fmt: skip
def test_other_values_are(name: str, value: Any) -> None:
    with pytest.raises(NotPlainError):
        RowEncoder(FIELDS, FITTED).encode({**ROW, name: value})


def test_a_missing_column_is_left_too() -> None:
    with pytest.raises(NotPlainError):
        RowEncoder(FIELDS, FITTED).encode({name: value for name, value in ROW.items() if name != "age"})


def test_wrong_values_are_errors_of_the_column() -> None:
    with pytest.raises(DataError):
        by_columns({**ROW, "age": math.inf})


@given(st.lists(st.text(max_size=2000), min_size=1, max_size=5))
def test_one_text_is_hashed_as_an_array_is(texts: list[str]) -> None:
    assert [hash_text(text) for text in texts] == hash_strings(pa.array(texts)).tolist()


@given(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=5))
def test_one_integer_is_hashed_as_an_array_is(values: list[int]) -> None:
    assert [hash_integer(value) for value in values] == mix64(np.array(values, np.int64)).tolist()


@pytest.mark.parametrize("name", ["word", "number"])
def test_a_large_vocabulary_is_looked_up_without_a_dictionary(name: str) -> None:
    encoder = FITTED.tables[name]
    assert isinstance(encoder, FittedVocabulary)
    small, large = _of_vocabulary(encoder), _of_vocabulary(encoder, most=0)
    for value in ["a", "", "ü", "b", None, 5, 6, -(2**63), 2**63 - 1, 2**63, 1.0, True]:
        try:
            wanted = small(value)
        except NotPlainError:
            with pytest.raises(NotPlainError):
                large(value)
        else:
            assert large(value) == wanted
