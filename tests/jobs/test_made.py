"""Fields made of other columns, from raw rows through training to prediction, evaluation and a bundle by item keys."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from distill.errors import DataError
from distill.schema import load_schema
from distill.serving import Bundle
from tests.jobs.days import SCHEMA, day, of_day, write_days
from tests.jobs.entry import path_arguments, run_script, train
from tests.jobs.test_evaluate import evaluate
from tests.jobs.test_mistakes import message_of
from tests.jobs.test_predict import NEW, SMALL, WHOLE, as_pairs, best, check, predict
from tests.marks import slow_except

MADE = [
    {"name": "liked", "kind": "number", "made": {"type": "match", "of": ["past", "item"]}},
    {"name": "no_price", "kind": "number", "made": {"type": "missing", "of": ["price"]}},
    {"name": "cheap", "kind": "number", "made": {"type": "ratio", "of": ["price", "age"], "otherwise": 0}},
    {"name": "pair", "kind": "id", "encoding": {"type": "hash", "buckets": 64},
     "made": {"type": "combine", "of": ["user", "brand"]}},
    {"name": "regular", "kind": "number",
     "made": {"type": "match", "of": ["user", {"column": "search", "side": "request"}], "otherwise": 0}},
]  # fmt: skip


def lose_some_prices(file: Path) -> None:
    """Makes every third price of a log null."""
    table = pq.read_table(file)
    prices = [[None if i % 3 == 0 else p for i, p in enumerate(row)] for row in table["price"].to_pylist()]
    place = table.column_names.index("price")
    pq.write_table(table.set_column(place, "price", pa.array(prices, table.schema.field("price").type)), file)


def of_file(root: Path, number: int) -> pa.Table:
    """The log of a day as it was written, prices lost."""
    return pq.read_table(root / "days" / f"{number}.parquet")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("made")
    write_days(root, range(1, 4), {**SCHEMA, "fields": SCHEMA["fields"] + MADE})
    for number in (1, NEW):
        lose_some_prices(root / "days" / f"{number}.parquet")
    run_script("scripts/prepare.py", *of_day(root, 1), *path_arguments(root), f"out={root / 'day1'}")
    train("data=prepared", f"data.root={root / 'day1'}", *path_arguments(root), *SMALL, "model=cold", "name=student")
    run_script("scripts/prepare.py", *of_day(root, NEW), *path_arguments(root), f"out={root / 'day2'}",
               f"encodings={root / 'day1'}", WHOLE)  # fmt: skip
    return root


@pytest.mark.slow
@pytest.mark.parametrize("shape", ["requests", "pairs", "scattered"])
def test_prediction_reads_the_columns_that_fields_are_made_of(root: Path, shape: str, tmp_path: Path) -> None:
    table = of_file(root, NEW).drop_columns(["click", "dwell"])
    if shape != "requests":
        table = as_pairs(table)
    if shape == "scattered":
        table = table.take(pa.array(np.random.default_rng(0).permutation(len(table))))
    pq.write_table(table, tmp_path / "new.parquet", row_group_size=50)
    check(root, predict(root, tmp_path / "new.parquet", tmp_path / "out", "unit_rows=50"))


@pytest.mark.slow
def test_raw_files_are_evaluated_as_prepared_ones(root: Path) -> None:
    path = f"path={best(root)}"
    (raw,) = evaluate(root, *of_day(root, NEW), path, "teacher_path=null")
    (prepared,) = evaluate(root, "data=prepared", f"data.root={root / 'day2'}", path, "teacher_path=null")
    assert raw["metrics"]["student"] == pytest.approx(prepared["metrics"]["student"])


@pytest.mark.slow
def test_a_model_is_refused_data_that_makes_its_field_otherwise(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = [
        {**field, "made": {**field["made"], "otherwise": 5}} if field["name"] == "cheap" else field for field in MADE
    ]
    write_days(tmp_path, range(NEW, NEW + 1), {**SCHEMA, "fields": SCHEMA["fields"] + other})
    said = message_of(capsys, "scripts/evaluate.py", "trainer=cpu", *of_day(tmp_path, NEW), *path_arguments(root),
                      f"path={best(root)}", "teacher_path=null")  # fmt: skip
    assert "made of raw columns in another way" in said
    assert "otherwise 5.0" in said


@pytest.mark.slow
def test_items_by_key_need_the_columns_of_the_pair(root: Path, tmp_path: Path) -> None:
    table = as_pairs(of_file(root, NEW))
    own = {name: table[name].to_pylist() for name in ("item", "brand", "price", "age")}
    first = {key: row for row, key in reversed(list(enumerate(own["item"])))}
    rows = sorted(first.values())
    pq.write_table(table.select(list(own)).take(pa.array(rows)), tmp_path / "items.parquet")
    run_script("scripts/export.py", f"path={best(root)}", f"out={tmp_path / 'b'}", f"items={tmp_path}/items.parquet",
               "trainer=cpu", *path_arguments(root))  # fmt: skip
    bundle = Bundle.load(tmp_path / "b")
    request: dict[str, Any] = {"user": "u10", "past": ["i20", "i21"], "search": "u10"}
    candidates = {name: [values[row] for row in rows[:5]] for name, values in own.items()}
    pair = {"match": [0.5] * 5}
    by_columns = bundle.score(request, {**candidates, **pair})
    of_pair = {**pair, "item": candidates["item"], "brand": candidates["brand"]}
    by_key = bundle.score(request, of_pair, items=candidates["item"])
    np.testing.assert_array_equal(by_key.logits, by_columns.logits)
    with pytest.raises(DataError, match=r"raw column is missing(.|\n)*candidates, column 'brand'"):
        bundle.score(request, {"item": candidates["item"], **pair}, items=candidates["item"])


CASES = [
    ({"type": "ratio", "of": ["price", {"column": "brand", "side": "candidate"}]},
     ["wrong type", "column 'brand' (field 'made', made.of)", "list of string"]),
    ({"type": "overlap", "of": ["past", {"column": "brands", "side": "candidate"}]},
     ["missing", "column 'brands' (field 'made', made.of)", "'brand'"]),
    ({"type": "match", "of": [{"column": "ts", "side": "request"}, "brand"]},
     ["two types", "expected: numbers, as in column 'ts'", "column 'brand' (field 'made')"]),
    ({"type": "difference", "of": [{"column": "ts", "side": "request"}, "age"], "unit": "hours"},
     ["without a unit", "column 'ts' (field 'made')", "row 0"]),
    ({"type": "match", "of": [{"column": "user", "side": "candidate"}, "brand"]},
     ["wrong type", "column 'user' (field 'made', made.of)"]),
]  # fmt: skip


@pytest.mark.parametrize(("made", "said"), slow_except(CASES, CASES[0]))
def test_what_raw_files_do_not_hold_is_named(
    made: dict[str, Any], said: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = {"name": "made", "kind": "number", "made": made}
    write_days(tmp_path, range(1, 2), {**SCHEMA, "fields": [*SCHEMA["fields"], spec]})
    found = message_of(capsys, "scripts/prepare.py", *of_day(tmp_path, 1), *path_arguments(tmp_path),
                       f"out={tmp_path / 'day'}")  # fmt: skip
    for part in said:
        assert part in found, found


@pytest.mark.slow
def test_a_catalogue_of_items_has_made_fields_of_the_candidate(root: Path, tmp_path: Path) -> None:
    table = as_pairs(day(1)).select(["item", "brand", "price", "age"])
    first = {key: row for row, key in reversed(list(enumerate(table["item"].to_pylist())))}
    pq.write_table(table.take(pa.array(sorted(first.values()))), tmp_path / "items.parquet")
    run_script("scripts/prepare.py", *of_day(root, 1), *path_arguments(root), f"out={tmp_path / 'day'}",
               f"data.items={tmp_path / 'items.parquet'}")  # fmt: skip
    (file,) = (tmp_path / "day" / "items").glob("*.parquet")
    written = pq.read_table(file)["field_cheap"].to_numpy()
    price, age = (np.asarray(table[name])[sorted(first.values())] for name in ("price", "age"))
    ratio = np.divide(price, age, out=np.zeros_like(price), where=age != 0)
    assert np.corrcoef(written, ratio)[0, 1] == pytest.approx(1.0)
    assert load_schema(tmp_path / "day" / "schema.yaml").field("cheap").side.value == "candidate"
