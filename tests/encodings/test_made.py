"""Made fields are what their definitions say, value by value."""

from __future__ import annotations

from datetime import date, datetime, timedelta, timezone
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from distill.encodings.arrow import combine, to_plain
from distill.encodings.made import SourceColumn, make, read_field, split_combined
from distill.encodings.numbers import FittedNumber
from distill.encodings.place import Place
from distill.errors import DataError
from distill.schema import FieldSpec, Side
from tests.marks import slow_except

ROWS, REQUESTS = 12, 5
Raw = tuple[list[Any], list[int] | None]


def spec_of(kind: str, lists: tuple[bool, ...], **more: Any) -> FieldSpec:
    of = [{"column": f"c{place}", "side": "candidate", "list": is_list} for place, is_list in enumerate(lists)]
    return FieldSpec.model_validate({
        "name": "f", "side": "candidate", "kind": "id" if kind == "combine" else "number",
        "made": {"type": kind, "of": of, **more},
    })  # fmt: skip


def made(spec: FieldSpec, *columns: Raw, nan: bool = False) -> list[Any]:
    assert spec.made is not None
    sources = [
        SourceColumn(to_plain(pa.array(values)), Place(f"c{n}", "field 'f'"), None if rows is None else np.array(rows))
        for n, (values, rows) in enumerate(columns)
    ]
    found: list[Any] = make(spec.made, sources, nan).to_pylist()
    return found


def test_what_is_missing_is_told_apart_from_the_mean() -> None:
    spec = spec_of("missing", (False,))
    assert made(spec, ([1.5, None, 0.0], None)) == [0.0, 1.0, 0.0]
    assert made(spec, ([None, 2], [1, 0, 0, 1])) == [0.0, 1.0, 1.0, 0.0]
    assert made(spec, ([1.0, float("nan")], None), nan=True) == [0.0, 1.0]
    with pytest.raises(DataError, match="not finite"):
        made(spec, ([1.0, float("nan")], None))


def spread(column: Raw) -> list[Any]:
    values, rows = column
    return values if rows is None else [values[row] for row in rows]


def expected(kind: str, lists: tuple[bool, bool], a: Any, b: Any) -> float | None:
    """By the words of the documentation."""
    if a is None or b is None:
        return None
    if kind == "ratio":
        return a / b if b else None
    if kind == "difference":
        return float(a - b)
    first, second = (v if is_list else [v] for v, is_list in zip((a, b), lists, strict=True))
    shared = {v for v in first if v is not None} & {v for v in second if v is not None}
    if kind == "match":
        return float(bool(shared))
    if all(lists):
        return float(len(shared))
    return float(sum(v in shared for v in (first if lists[0] else second)))


@pytest.mark.parametrize("seed", slow_except(range(60), *range(6)))
@pytest.mark.parametrize("kind", ["match", "overlap", "ratio", "difference"])
def test_what_the_definition_says(kind: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    compares = kind in ("match", "overlap")
    lists = (bool(rng.integers(2)), bool(rng.integers(2))) if compares else (False, False)
    if kind == "overlap" and not any(lists):
        lists = (True, False)
    text = compares and bool(rng.integers(2))

    def value() -> Any:
        if rng.random() < 0.15:
            return None
        number = int(rng.integers(0, 5)) + (2**62 if compares else 0)
        return f"v{number}" if text else number if compares else float(number)

    def column(is_list: bool, repeated: bool) -> Raw:
        count = REQUESTS if repeated else ROWS
        one = [value() for _ in range(count)]
        many = [None if rng.random() < 0.15 else [value() for _ in range(rng.integers(0, 6))] for _ in range(count)]
        return many if is_list else one, rng.integers(0, REQUESTS, ROWS).tolist() if repeated else None

    of_request = int(rng.integers(3))
    columns = [column(is_list, place == of_request) for place, is_list in enumerate(lists)]
    pairs = list(zip(*map(spread, columns), strict=True))
    wanted = [expected(kind, lists, a, b) for a, b in pairs]
    assert made(spec_of(kind, lists), *columns) == wanted
    otherwise = made(spec_of(kind, lists, otherwise=-7), *columns)
    assert otherwise == [-7.0 if value is None else value for value in wanted]


@pytest.mark.parametrize("seed", slow_except(range(40), 0, 1, 2))
def test_combined_ids_are_equal_only_if_all_parts_are(seed: int) -> None:
    rng = np.random.default_rng(seed)
    words = ["", "a", "a|", "|", "\\", "\\|", "a\\", "|a", None]
    columns = [([words[i] for i in rng.integers(0, len(words), 60)], None) for _ in range(3)]
    found = made(spec_of("combine", (False, False, False)), *columns)
    parts = list(zip(*(values for values, _ in columns), strict=True))
    for text, own in zip(found, parts, strict=True):
        assert (text is None) == (None in own)
        assert text is None or tuple(split_combined(text)) == own


def test_ids_of_several_types_are_combined_as_text() -> None:
    columns: list[Raw] = [
        ([7, 2**63 - 1, None], [0, 1, 2, 0]),
        (["x", None, "y", "7"], None),
        ([True, False, True, None], None),
    ]
    assert made(spec_of("combine", (False,) * 3), *columns) == ["7|x|1", None, None, None]
    assert made(spec_of("combine", (False,) * 2), ([7.0, None], None), (["a", "b"], None)) == ["7|a", None]


ZONE = timezone(timedelta(hours=2))
NOON = datetime(2024, 5, 1, 12, tzinfo=timezone.utc)


@pytest.mark.parametrize(
    ("a", "b", "more", "wanted"),
    [
        (NOON, NOON.astimezone(ZONE), {}, 0.0),
        ("2024-05-01T12:00:00Z", "2024-05-01 12:00:00+02:00", {}, 2.0),
        ("2024-05-01T12:00:00", datetime(2024, 5, 1, 11), {}, 1.0),
        (NOON, date(2024, 5, 1), {}, 12.0),
        ("2024-05-02", date(2024, 5, 1), {"unit": "days"}, 1.0),
        (int(NOON.timestamp()), NOON, {"epoch": "seconds"}, 0.0),
        (int(NOON.timestamp() * 1000) + 1800000, NOON, {"epoch": "milliseconds"}, 0.5),
        (NOON.timestamp() + 0.5, NOON, {"epoch": "seconds", "unit": "seconds"}, 0.5),
        (int(NOON.timestamp()) * 10**9 + 1500, NOON, {"epoch": "nanoseconds", "unit": "seconds"}, 1e-6),
        (int(NOON.timestamp()) * 10**6, NOON, {"epoch": "microseconds"}, 0.0),
        (None, NOON, {"otherwise": -1}, -1.0),
        ("2024-05-01T12:00:00.123456789Z", NOON, {"unit": "seconds"}, 0.123456),
    ],
)
def test_differences_of_times(a: Any, b: Any, more: dict[str, Any], wanted: float) -> None:
    spec = spec_of("difference", (False, False), **{"unit": "hours", **more})
    assert made(spec, ([a], None), ([b], None)) == [pytest.approx(wanted, abs=1e-12)]


@pytest.mark.parametrize(
    ("spec", "columns", "said"),
    [
        (("match", (True, False)), ([["a"]], [1]), "two types"),
        (("match", (True, False)), (["a"], ["a"]), "no lists"),
        (("match", (False, False)), ([["a"]], ["a"]), "cannot be ids"),
        (("ratio", (False, False)), (["a"], [1]), "no numbers"),
        (("ratio", (False, False)), ([float("nan")], [1.0]), "not finite"),
        (("difference", (False, False), "hours"), ([1], ["2024-01-01"]), "without a unit"),
        (("difference", (False, False), "hours"), ([True], ["2024-01-01"]), "no times"),
        (("difference", (False, False), "hours"), (["soon"], ["2024-01-01"]), "cannot be read"),
        (("difference", (False, False), "hours", "seconds"), ([2**62], ["2024-01-01"]), "out of range"),
        (("difference", (False, False), "hours", "seconds"), ([1e40], ["2024-01-01"]), "out of range"),
    ],
)
def test_mistakes_name_column_and_row(spec: Any, columns: Any, said: str) -> None:
    kind, lists, *more = spec
    field = spec_of(kind, lists, **dict(zip(("unit", "epoch"), more, strict=False)))
    with pytest.raises(DataError, match=said) as caught:
        made(field, *((values, None) for values in columns))
    assert "row 0" in str(caught.value)
    assert "column 'c" in str(caught.value)


def test_nan_is_an_error_or_missing() -> None:
    values: list[Raw] = [([float("nan"), 4.0], None), ([1.0, 2.0], None)]
    assert made(spec_of("ratio", (False, False)), *values, nan=True) == [None, 2.0]


def test_nothing_is_compared_with_nothing() -> None:
    for kind in ("match", "overlap"):
        assert made(spec_of(kind, (True, True)), ([None, []], None), ([None, ["a"]], None)) == [None, 0.0]
        assert made(spec_of(kind, (True, False)), ([], None), ([], None)) == []


def test_a_result_that_is_too_large_is_named_by_its_field() -> None:
    spec = spec_of("ratio", (False, False))

    def find(name: str, _: Side, use: str) -> tuple[pa.Array, Place]:
        return combine(pa.chunked_array([[1e99] if name == "c0" else [1e-99]])), Place(name, use)

    values, place = read_field(spec, find)
    assert values.to_pylist() == [pytest.approx(1e198)]
    with pytest.raises(DataError, match=r"row 0, column 'c0, c1' \(field 'f'\)"):
        FittedNumber(False, 0.0, 1.0, 0.0).encode(values, place, "error")
