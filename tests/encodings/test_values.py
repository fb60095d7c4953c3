import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distill.encodings.arrow import differs, explode, plain_type, to_plain
from distill.encodings.id_values import to_id_values, to_keys
from distill.encodings.lists import to_ragged, to_vectors
from distill.encodings.place import Place
from distill.encodings.times import to_times
from distill.encodings.values import to_float32, to_numbers
from distill.errors import DataError

PLACE = Place("price", "field 'price'")


def test_numbers_with_nulls() -> None:
    values, missing = to_numbers(pa.array([1.5, None, 3]), PLACE)
    assert values.tolist() == [1.5, 0.0, 3.0]
    assert missing.tolist() == [False, True, False]


def test_booleans_are_numbers() -> None:
    assert to_numbers(pa.array([True, None, False]), PLACE)[0].tolist() == [1.0, 0.0, 0.0]


def test_nan_is_an_error_or_missing() -> None:
    array = pa.array([1.0, float("nan")])
    with pytest.raises(DataError, match=r"row 1, column 'price'(.|\n)*nan: missing"):
        to_numbers(array, PLACE)
    values, missing = to_numbers(array, PLACE, "missing")
    assert values.tolist() == [1.0, 0.0]
    assert missing.tolist() == [False, True]


@pytest.mark.parametrize("nan", ["error", "missing"])
def test_infinity_is_always_an_error(nan: str) -> None:
    with pytest.raises(DataError, match="not finite"):
        to_numbers(pa.array([float("inf")]), PLACE, nan)  # type: ignore[arg-type]


def test_too_large_for_float32() -> None:
    with pytest.raises(DataError, match="too large"):
        to_float32(np.array([1e39]), PLACE)


def test_large_integer_ids_stay_exact() -> None:
    large = [2**24 + 1, 2**53 + 1, 2**63 - 1, None]
    assert to_id_values(pa.array(large, pa.int64()), PLACE).to_pylist() == large
    assert to_keys(pa.array(large[:3]), PLACE)[0].tolist() == large[:3]


def test_whole_floats_are_ids_and_others_are_not() -> None:
    assert to_id_values(pa.array([3.0, None]), PLACE).to_pylist() == [3, None]
    with pytest.raises(DataError, match="not whole"):
        to_id_values(pa.array([3.5]), PLACE)


def test_string_keys_are_hashed_and_null_keys_reported() -> None:
    keys, missing = to_keys(pa.array(["a", None, "a", "b"]), PLACE)
    assert keys[0] == keys[2] != keys[3]
    assert missing.tolist() == [False, True, False, False]


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=2, max_size=20))
def test_float_times_order_like_floats(times: list[float]) -> None:
    keys = to_times(pa.array(times), PLACE)
    assert [times[i] for i in np.argsort(keys, kind="stable")] == sorted(times)


def test_times_of_any_kind() -> None:
    texts = to_times(pa.array(["2024-01-01", "2024-01-01 00:00:01"]), PLACE)
    assert texts[1] - texts[0] == 1_000_000
    dates = to_times(pa.array([0, 1], pa.date32()), PLACE)
    assert dates.tolist() == [0, 86_400_000_000]
    assert to_times(pa.array([1, 2], pa.timestamp("ms")), PLACE).tolist() == [1000, 2000]
    with pytest.raises(DataError, match="time is missing"):
        to_times(pa.array([1, None]), PLACE)
    with pytest.raises(DataError, match="cannot be read"):
        to_times(pa.array(["yesterday"]), PLACE)


def test_ragged_drops_nulls_and_keeps_the_last_values() -> None:
    array = pa.array([[9], [1, None, 2, 3], None, [], [4]]).slice(1)
    values, lengths, missing = to_ragged(array, 2)
    assert values.to_pylist() == [2, 3, 4]
    assert lengths.tolist() == [2, 0, 0, 1]
    assert sorted(missing.tolist()) == [0, 1]


def test_vectors() -> None:
    array, missing = to_vectors(pa.array([[1, 2], None, [3, None]]), 2, PLACE, "missing")
    assert array.to_pylist() == [[1, 2], [0, 0], [3, 0]]
    assert sorted(missing.tolist()) == [1, 2]
    with pytest.raises(DataError, match=r"row 1(.|\n)*2 numbers(.|\n)*3 numbers"):
        to_vectors(pa.array([[1, 2], [1, 2, 3]]), 2, PLACE, "error")
    with pytest.raises(DataError, match=r"inside a vector is null(.|\n)*row 2, value 1(.|\n)*nan: missing"):
        to_vectors(pa.array([[1, 2], None, [3, None]]), 2, PLACE, "error")
    with pytest.raises(DataError, match="row 1, value 1"):
        to_vectors(pa.array([[1.0, 2.0], [1.0, float("inf")]]), 2, PLACE, "error")


def test_explode_ignores_what_null_lists_hide() -> None:
    offsets = pa.array([0, 1, None, 4], pa.int32())
    array = pa.ListArray.from_arrays(offsets, pa.array([1, 2, 3, 4]))
    values, lengths = explode(array)
    assert len(values) == lengths.sum()
    assert explode(pa.array([[1], [2, 3], None]).slice(1))[0].to_pylist() == [2, 3]


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (pa.int8(), pa.int64()),
        (pa.uint32(), pa.int64()),
        (pa.float32(), pa.float64()),
        (pa.decimal128(5, 2), pa.float64()),
        (pa.large_string(), pa.string()),
        (pa.dictionary(pa.int8(), pa.large_string()), pa.string()),
        (pa.large_list(pa.int32()), pa.list_(pa.int64())),
        (pa.list_(pa.float16(), 3), pa.list_(pa.float64())),
        (pa.list_(pa.large_list(pa.string())), pa.list_(pa.list_(pa.string()))),
    ],
)
def test_plain_types(kind: pa.DataType, expected: pa.DataType) -> None:
    assert plain_type(kind) == expected
    assert to_plain(pa.nulls(2, kind)).to_pylist() == [None, None]


@pytest.mark.parametrize(
    ("left", "right", "expected"),
    [
        ([1, None, 3], [1, None, 4], [False, False, True]),
        ([None, 1], [1, None], [True, True]),
        ([float("nan"), 1.0], [float("nan"), 2.0], [False, True]),
        (["a", "b"], ["a", "c"], [False, True]),
        ([[1], [1, 2], None, []], [[1], [1, 3], None, None], [False, True, False, True]),
        ([["a", "b"], ["c"]], [["a"], ["c"]], [True, False]),
    ],
)
def test_differs(left: list[object], right: list[object], expected: list[bool]) -> None:
    assert differs(pa.array(left), pa.array(right)).tolist() == expected


def test_the_first_value_that_cannot_be_converted_is_named() -> None:
    times = pa.array(["2025-01-01", None, "soon", "2025-01-02", "later"])
    with pytest.raises(DataError, match="'soon'") as caught:
        to_times(times.fill_null("2025-01-01"), Place("t", "keys.time"))
    assert str(caught.value.where).startswith("row 2,")
