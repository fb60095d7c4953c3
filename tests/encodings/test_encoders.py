from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from distill.encodings import FittedEncodings, PackedEncodings, SavedEncodings
from distill.encodings.numbers import number_from_moments, piecewise_number
from distill.encodings.place import Place
from distill.encodings.tables import (
    FittedHash,
    FittedIds,
    FittedQuantiles,
    FittedVocabulary,
    vocabulary_from_counts,
)
from distill.errors import DataError
from distill.schema import MISSING_NUMBER, FieldSpec, parse_schema
from distill.schema.encoding import LARGEST_EMBEDDED, Identity, Log, Standardise

PLACE = Place("c", "field 'f'")


def _vocabulary(values: list[object]) -> FittedVocabulary:
    return FittedVocabulary(pa.array(values), np.ones(len(values), np.int64))


def test_vocabulary_order_and_limits() -> None:
    counted = pa.table({"value": [5, 3, 9, 1], "count": [2, 7, 2, 1]})
    assert vocabulary_from_counts(counted, 1, None).values.to_pylist() == [3, 5, 9, 1]
    assert vocabulary_from_counts(counted, 2, None).values.to_pylist() == [3, 5, 9]
    assert vocabulary_from_counts(counted, 1, 2).values.to_pylist() == [3, 5]


@pytest.mark.parametrize("values", [[30, 10, 20], ["b", "a", "ü"]])
def test_vocabulary_ids(values: list[object]) -> None:
    vocabulary = _vocabulary(values)
    unknown = 11 if isinstance(values[0], int) else "z"
    array = pa.array([values[2], None, unknown, values[0], values[1]])
    assert vocabulary.encode(array, PLACE, "error").tolist() == [4, 0, 1, 2, 3]
    assert vocabulary.size == 5


def test_vocabulary_tells_neighbours_above_float_precision_apart() -> None:
    vocabulary = _vocabulary([2**53, 2**53 + 1, 2**24 + 1])
    assert vocabulary.encode(pa.array([2**24, 2**24 + 1, 2**53 + 1]), PLACE, "error").tolist() == [1, 4, 3]


def test_vocabulary_of_nothing() -> None:
    empty = FittedVocabulary(pa.array([], pa.string()), np.zeros(0, np.int64))
    assert empty.encode(pa.array(["a", None]), PLACE, "error").tolist() == [1, 0]


def test_vocabulary_refuses_another_type() -> None:
    with pytest.raises(DataError, match="another type"):
        _vocabulary([1, 2]).encode(pa.array(["1"]), PLACE, "error")
    assert _vocabulary([1, 2]).encode(pa.nulls(2), PLACE, "error").tolist() == [0, 0]


def test_hash_buckets_are_frozen() -> None:
    # mix64(1) = 0x910a2dec89025cc1, mix64(0) = 0xe220a8397b1dcdaf
    ids = FittedHash(10, "int").encode(pa.array([1, None, 0]), PLACE, "error").tolist()
    assert ids == [2 + 0x910A2DEC89025CC1 % 10, 0, 2 + 0xE220A8397B1DCDAF % 10]
    words = FittedHash(1000, "string").encode(pa.array(["a"]), PLACE, "error").tolist()
    assert words == [2 + 0xE38F1BE75F04A7AD % 1000]


def test_ids() -> None:
    assert FittedIds(3).encode(pa.array([0, 2, 3, -1, None]), PLACE, "error").tolist() == [2, 4, 1, 1, 0]


def test_quantiles() -> None:
    encoder = FittedQuantiles(4, np.array([1.0, 2.0]))
    assert encoder.encode(pa.array([0.5, 1.0, 1.5, 9.0, None]), PLACE, "error").tolist() == [2, 3, 3, 4, 0]
    assert encoder.size == 6


def test_numbers() -> None:
    array = pa.array([-3.0, None, 5.0])
    standardised, missing = number_from_moments(Standardise(), 1.0, 2.0).encode(array, PLACE, "error")
    assert standardised.tolist() == [-2.0, 0.0, 2.0]
    assert missing.tolist() == [1]
    assert number_from_moments(Identity(), 1.0, 2.0).encode(array, PLACE, "error")[0].tolist() == [-3.0, 0.0, 5.0]
    log = number_from_moments(Log(standardise=False), 0.5, 2.0).encode(array, PLACE, "error")[0]
    np.testing.assert_allclose(log, [-np.log(4), 0.5, np.log(6)], rtol=1e-6)
    assert number_from_moments(Standardise(), 1.0, 0.0).encode(pa.array([1.0]), PLACE, "error")[0].tolist() == [0.0]


def _shares(x: float, b: list[float]) -> list[float]:
    """Equation 1 of Gorishniy et al. 2022 for boundaries b_0 … b_T."""
    last = len(b) - 1
    shares = []
    for t in range(1, last + 1):
        if x < b[t - 1] and t > 1:
            shares.append(0.0)
        elif x >= b[t] and t < last:
            shares.append(1.0)
        else:
            shares.append((x - b[t - 1]) / (b[t] - b[t - 1]))
    return shares


def test_places_among_quantiles_add_up_the_shares_of_all_bins() -> None:
    boundaries = [-4.0, -1.0, 0.5, 8.0]
    encoder = piecewise_number(3, np.array([-1.0, 0.5]), -4.0, 8.0)
    values = [-10.0, -4.0, -2.0, -1.0, 0.25, 0.5, 7.0, 8.0, 20.0]
    places, _ = encoder.encode(pa.array(values), PLACE, "error")
    np.testing.assert_allclose(places, [sum(_shares(x, boundaries)) for x in values], rtol=1e-6)
    assert encoder.boundaries == tuple(boundaries)


def test_missing_and_far_places_stay_apart() -> None:
    encoder = piecewise_number(3, np.array([1.0]), 0.0, 1.0 + 1e-300)
    places, missing = encoder.encode(pa.array([None, -1e99, 1e99, float("nan")]), PLACE, "missing")
    assert places.tolist() == [MISSING_NUMBER, -LARGEST_EMBEDDED, LARGEST_EMBEDDED, MISSING_NUMBER]
    assert missing.tolist() == [0, 3]
    assert float(np.float16(MISSING_NUMBER)) == MISSING_NUMBER


@pytest.mark.parametrize(("low", "high", "places"), [(5.0, 5.0, [-1.0, 0.0, 1.0]), (np.inf, -np.inf, [0.0, 5.0, 10.0])])
def test_a_constant_number_and_one_without_values_have_one_bin(low: float, high: float, places: list[float]) -> None:
    encoder = piecewise_number(4, np.unique([low]) if low == high else np.zeros(0), low, high)
    assert len(encoder.boundaries) == 2
    assert encoder.encode(pa.array([0.0, 5.0, 10.0]), PLACE, "error")[0].tolist() == places


def test_boundaries_are_saved_and_are_of_the_identity_of_a_field() -> None:
    spec = FieldSpec.model_validate(
        {"name": "x", "side": "request", "kind": "number", "encoding": {"type": "piecewise_linear", "bins": 3}}
    )
    one, other = (FittedEncodings({}, {"x": piecewise_number(3, np.array([0.1 + 0.2]), 0.0, h)}) for h in (1.0, 2.0))
    saved = one.packed().saved
    again = SavedEncodings.parse(saved.model_dump_json(), "test")
    assert again == saved
    assert FittedEncodings.unpacked(PackedEncodings(again, {})) == one
    assert again.identity(spec) == saved.identity(spec) != other.packed().saved.identity(spec)
    plain = FittedEncodings({}, {"x": number_from_moments(Standardise(), 1.0, 2.0)}).packed().saved
    assert set(plain.numbers["x"].model_dump()) == {"log", "shift", "scale", "fill"}


def test_saved_encodings_encode_alike(tmp_path: Path) -> None:
    schema = parse_schema(
        {
            "name": "t",
            "layout": "flat",
            "fields": [
                {"name": "word", "side": "request", "kind": "id", "table": "a/b c"},
                {"name": "past", "side": "request", "kind": "sequence", "table": "a/b c", "max_length": 2},
                {"name": "hash", "side": "request", "kind": "id", "encoding": {"type": "hash", "buckets": 9}},
                {"name": "bucket", "side": "request", "kind": "number", "encoding": {"type": "quantile", "buckets": 3}},
                {"name": "code", "side": "request", "kind": "id", "encoding": {"type": "ids", "size": 4}},
                {"name": "price", "side": "candidate", "kind": "number", "encoding": "log"},
                {"name": "vector", "side": "candidate", "kind": "vector", "width": 2},
            ],
            "tasks": [{"name": "click"}],
        },
        "test",
    )
    fitted = FittedEncodings(
        {
            "a/b c": _vocabulary(["x", "y"]),
            "hash": FittedHash(9, "string"),
            "bucket": FittedQuantiles(3, np.array([0.1, 0.7])),
            "code": FittedIds(4),
        },
        {"price": number_from_moments(Log(), 0.3, 1.7)},
    )
    raw = pa.table(
        {
            "word": ["y", None],
            "past": [["x", "x", "q"], []],
            "hash": ["h", "i"],
            "bucket": [0.5, 0.9],
            "code": [3, 4],
            "price": [2.0, None],
            "vector": [[1.0, 2.0], [3.0, 4.0]],
        }
    )
    loaded = FittedEncodings.load(tmp_path, fitted.save(tmp_path))
    encoded = loaded.apply(raw, schema.fields)
    assert encoded.equals(fitted.apply(raw, schema.fields))
    assert encoded["word"].to_pylist() == [3, 0]
    assert encoded["past"].to_pylist() == [[2, 1], []]
    assert encoded["code"].to_pylist() == [5, 1]
    with pytest.raises(DataError, match="missing"):
        loaded.apply(raw.drop_columns("price"), schema.fields)


def test_a_changed_vocabulary_is_noticed(tmp_path: Path) -> None:
    saved = FittedEncodings({"t": _vocabulary([1, 2])}, {}).save(tmp_path)
    FittedEncodings({"t": _vocabulary([2, 1])}, {}).save(tmp_path)
    with pytest.raises(DataError, match="not the one that was fitted"):
        FittedEncodings.load(tmp_path, saved)
