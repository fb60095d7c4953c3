"""An item that is in its request twice."""

import itertools
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from distill.data.contents import Duplicates, RepeatedCandidate
from distill.data.format import SPLITS, Dataset
from distill.data.split import RandomSplit
from distill.errors import DataError, SchemaError
from distill.schema import Schema
from tests.data.prepare.builders import by_request, pairs, prepare_quietly, rows, schema_of, write
from tests.marks import some_fast


def full_schema(duplicates: str) -> Schema:
    return schema_of(
        duplicates=duplicates,
        keys={"request": "rid", "user": "uid", "item": "item", "stage": "stage"},
        tasks=[{"name": "click"}, {"name": "grade", "kind": "graded"}, {"name": "seconds", "kind": "value"}],
        teacher={
            "columns": {"click": "t1", "grade": "t2"},
            "kind": "logit",
            "hidden": {"h": {"column": "h", "width": 1}},
        },
        evaluation=["profit"],
    )


def full_rows() -> dict[str, list[Any]]:
    """Request r1 holds item 10 three times and item 11 once; val and test one item each; rows are scattered."""
    return {
        "rid": ["r1", "r3", "r1", "r1", "r4", "r1"],
        "uid": [7, 9, 7, 7, 7, 7],
        "item": [10, 11, 11, 10, 99, 10],
        "price": [1.0, 2.0, 3.0, 5.0, 9.0, 8.0],
        "click": [0, 1, 0, 1, 0, None],
        "grade": [2, 0, 0, 3, 0, 1],
        "seconds": [4.0, 0.0, 0.0, 2.5, 0.0, None],
        "stage": ["preranked", "exposed", "exposed", "exposed", "exposed", "ranked"],
        "t1": [None, 0.1, 0.2, None, 0.3, 0.4],
        "t2": [None, 0.1, 0.2, 1.5, 0.3, 2.5],
        "h": [None, [1.0], [2.0], None, [3.0], [4.0]],
        "profit": [1.0, 2.0, 3.0, 5.0, 9.0, 8.0],
        "part": ["train", "val", "train", "train", "test", "train"],
    }


def as_requests(columns: dict[str, list[Any]]) -> dict[str, list[Any]]:
    """The same rows, one per request with lists."""
    request_side = ("rid", "uid", "part")
    found: dict[str, dict[str, Any]] = defaultdict(lambda: defaultdict(list))
    for values in zip(*columns.values(), strict=True):
        row = dict(zip(columns, values, strict=True))
        for name, value in row.items():
            if name in request_side:
                found[row["rid"]][name] = value
            else:
                found[row["rid"]][name].append(value)
    return {name: [request[name] for request in found.values()] for name in columns}


def prepared(tmp_path: Path, duplicates: str, shape: str) -> Dataset:
    columns = full_rows() if shape == "pairs" else as_requests(full_rows())
    cut = 3 if shape == "pairs" else 1
    files = tuple(
        write(tmp_path / f"{i}.parquet", {name: values[part] for name, values in columns.items()})
        for i, part in enumerate((slice(0, cut), slice(cut, None)))
    )
    return prepare_quietly(files, tmp_path / "out", full_schema(duplicates))


EXPECTED: dict[str, dict[str, list[float]]] = {
    "keep": {
        "key_item": [10, 11, 10, 10],
        "label_click": [0, 0, 1, np.nan],
        "label_grade": [2, 0, 3, 1],
        "label_seconds": [4, 0, 2.5, np.nan],
        "stage": [1, 3, 3, 2],
        "teacher_click": [np.nan, 0.2, np.nan, 0.4],
        "teacher_grade": [np.nan, 0.2, 1.5, 2.5],
        "hidden_h": [0, 2, 0, 4],
    },
    "first": {
        "key_item": [10, 11],
        "label_click": [0, 0],
        "label_grade": [2, 0],
        "label_seconds": [4, 0],
        "stage": [1, 3],
        "teacher_click": [np.nan, 0.2],
        "teacher_grade": [np.nan, 0.2],
        "hidden_h": [0, 2],
    },
    "last": {
        "key_item": [11, 10],
        "label_click": [0, np.nan],
        "label_grade": [0, 1],
        "label_seconds": [0, np.nan],
        "stage": [3, 2],
        "teacher_click": [0.2, 0.4],
        "teacher_grade": [0.2, 2.5],
        "hidden_h": [2, 4],
    },
    "merge": {
        "key_item": [10, 11],
        "label_click": [1, 0],  # any positive
        "label_grade": [3, 0],  # the best
        "label_seconds": [2.5, 0],  # the last that is known
        "stage": [3, 3],  # the furthest
        "teacher_click": [np.nan, 0.2],  # of the first that the teacher scored, all that it says
        "teacher_grade": [1.5, 0.2],
        "hidden_h": [0, 2],
    },
}


@pytest.mark.parametrize("shape", ["pairs", "requests"])
@pytest.mark.parametrize("duplicates", EXPECTED)
def test_what_becomes_of_an_item_that_is_there_twice(tmp_path: Path, duplicates: str, shape: str) -> None:
    dataset = prepared(tmp_path, duplicates, shape)
    (found,) = rows(dataset, "train")
    for name, expected in EXPECTED[duplicates].items():
        values = [value[0] if isinstance(value, list) else value for value in found[name]]
        np.testing.assert_allclose(values, expected, rtol=1e-6, err_msg=name)
    kept = len(EXPECTED[duplicates]["key_item"])
    assert found["num_candidates"] == kept
    counts, contents = dataset.manifest.counts, dataset.manifest.contents
    assert (counts["dropped"], counts["candidates/train"]) == (4 - kept, kept)
    # Encodings are fitted on what is written: prices 1 3 5 8, 1 3, 3 8.
    assert dataset.manifest.ranges["price"] == {"keep": (1, 8), "last": (3, 8)}.get(duplicates, (1, 3))
    assert contents is not None
    example = RepeatedCandidate(request="r1", item="10")
    assert contents.splits["train"].duplicates == Duplicates(candidates=2, other_label=2, examples=(example,))
    assert contents.splits["val"].duplicates == Duplicates()
    assert contents.splits["train"].labels["click"].candidates == kept


@pytest.mark.parametrize("shape", ["pairs", "requests"])
def test_both_rows_are_named_if_it_is_an_error(tmp_path: Path, shape: str) -> None:
    where = r"1\.parquet, row group 0, row 0, column 'item'"
    first = r"0\.parquet, row group 0, row 0"
    if shape == "requests":
        where, first = r"0\.parquet, row group 0, row 0, candidate 2, column 'item'", rf"{first}, candidate 0"
    with pytest.raises(DataError, match=rf"{where}(.|\n)*{first} is(.|\n)*item 10 again in request r1"):
        prepared(tmp_path, "error", shape)


def test_equal_items_of_other_requests_and_unknown_items_are_no_repeats(tmp_path: Path) -> None:
    columns = pairs(item=[None, None, 10, 12, 11, 11, 10])
    dataset = prepare_quietly(write(tmp_path / "a.parquet", columns), tmp_path / "out", schema_of(duplicates="error"))
    assert dataset.manifest.contents is not None
    assert not any(dataset.manifest.contents.splits[split].duplicates.candidates for split in SPLITS)


@pytest.mark.parametrize(
    ("duplicates", "text"), some_fast(itertools.product(["merge", "keep", "first", "last"], [True, False]), 3)
)
def test_equals_a_loop_whatever_the_memory(tmp_path: Path, duplicates: str, text: bool) -> None:
    draw = np.random.default_rng(5)
    n = 4000
    request, item = draw.integers(0, 300, n), draw.integers(0, 60, n)
    table = pa.table(
        {
            "rid": request, "uid": request % 37, "item": [f"i{i}" for i in item] if text else item,
            "price": draw.normal(size=n), "click": draw.integers(0, 2, n),
        }
    )  # fmt: skip
    raw = tmp_path / "raw.parquet"
    pq.write_table(table, raw, row_group_size=700)
    halves = tuple(tmp_path / f"{i}.parquet" for i in range(2))
    for half, path in zip((table.slice(0, 1234), table.slice(1234)), halves, strict=True):
        pq.write_table(half, path)
    schema = schema_of(duplicates=duplicates)
    one, small, two = (
        prepare_quietly(files, tmp_path / name, schema, RandomSplit(), memory_bytes=memory)
        for name, files, memory in (("a", raw, 1 << 30), ("b", raw, 1 << 15), ("c", halves, 1 << 30))
    )
    assert one.fingerprint == small.fingerprint == two.fingerprint
    assert one.manifest == small.manifest
    assert one.manifest.contents is not None
    assert two.manifest.contents is not None
    assert one.manifest.contents.splits == two.manifest.contents.splits
    clicks: dict[int, dict[int, list[int]]] = defaultdict(lambda: defaultdict(list))
    for r, i, click in zip(request.tolist(), item.tolist(), table["click"].to_pylist(), strict=True):
        clicks[r][i].append(click)
    numbers = [one.manifest.contents.splits[split].duplicates for split in SPLITS]
    assert sum(found.candidates for found in numbers) == n - sum(len(items) for items in clicks.values())
    contrary = sum(sum(c != of[0] for c in of[1:]) for items in clicks.values() for of in items.values())
    assert sum(found.other_label for found in numbers) == contrary
    pick = {"keep": sum, "first": lambda c: c[0], "last": lambda c: c[-1], "merge": max}[duplicates]
    expected = {r: sum(pick(of) for of in items.values()) for r, items in clicks.items()}
    found = {row["key_request"]: sum(row["label_click"]) for split in SPLITS for row in rows(one, split)}
    assert found == expected


def test_errors_behind_a_candidate_that_was_left_out_name_its_place(tmp_path: Path) -> None:
    columns = as_requests(full_rows())
    schema = full_schema("last")
    fields = [f.model_dump(mode="json", exclude_none=True) for f in schema.fields]
    fields[2] = {"name": "price", "side": "candidate", "kind": "number", "encoding": "identity"}
    columns["price"] = [[1.0, 3.0, 5.0, 1e39], [2.0], [9.0]]
    changed = Schema.model_validate({**schema.model_dump(mode="json", exclude_none=True), "fields": fields})
    with pytest.raises(DataError, match=r"too large for float32(.|\n)*row 0, candidate 3, column 'price'"):
        prepare_quietly(write(tmp_path / "a.parquet", columns), tmp_path / "out", changed)


@pytest.mark.parametrize("changes", [{"layout": "flat"}, {"keys": {"request": "rid"}}])
def test_rules_need_requests_and_items(changes: dict[str, Any]) -> None:
    with pytest.raises(SchemaError, match=r"`duplicates: first` needs layout requests and `keys\.item`"):
        schema_of(duplicates="first", **changes)


def test_two_items_twice_in_one_request(tmp_path: Path) -> None:
    columns = pairs(rid=["r1"] * 5 + ["r3", "r4"], uid=[7] * 5 + [9, 7], item=[5, 6, 5, 7, 6, 1, 1])
    dataset = prepare_quietly(write(tmp_path / "a.parquet", columns), tmp_path / "out", schema_of(duplicates="last"))
    assert by_request(dataset, "train", 7)["key_item"] == [5, 7, 6]
