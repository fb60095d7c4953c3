"""Labels of lists: the clicked items of a request."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distill.codes import MISSING_KEY
from distill.data.prepare.chunk import Chunk
from distill.data.prepare.listed import listed_labels
from distill.errors import DataError, DistillError, SchemaError
from distill.schema import dump_schema, parse_schema
from distill.schema.plain_yaml import read_yaml
from tests.data.prepare.builders import by_request, pairs, prepare_quietly, rows, schema_of, write

CLICK = [{"name": "click", "in": "clicked"}]


def _requests(**changes: Any) -> dict[str, Any]:
    columns: dict[str, Any] = {
        "rid": ["r1", "r2", "r3", "r4"],
        "uid": [7, 8, 9, 7],
        "item": [[10, 11], [10, 12, 10], [11], [99]],
        "price": [[1.0, 3.0], [1.0, 3.0, 2.0], [2.0], [100.0]],
        "clicked": pa.array([[10], [12, 55], [], None], pa.large_list(pa.int32())),
        "part": ["train", "train", "val", "test"],
    }
    return {**columns, **changes}


def test_items_in_the_list_are_positive(tmp_path: Path) -> None:
    dataset = prepare_quietly(write(tmp_path / "a.parquet", _requests()), tmp_path / "out", schema_of(tasks=CLICK))
    assert by_request(dataset, "train", 7)["label_click"] == [1, 0]
    assert by_request(dataset, "train", 8)["label_click"] == [0, 1, 0]
    assert rows(dataset, "val")[0]["label_click"] == [0]
    assert math.isnan(rows(dataset, "test")[0]["label_click"][0])  # a null list says nothing
    assert dataset.manifest.counts["no_candidate/train/click"] == 1  # 55
    assert dataset.manifest.counts["null_labels/test/click"] == 1
    assert dataset.schema.tasks[0].chosen == "clicked"


def test_all_shapes_of_rows_give_the_same(tmp_path: Path) -> None:
    lists = {"r1": [10], "r2": [12, 55], "r3": [], "r4": None}
    columns = pairs()
    del columns["click"]
    columns["clicked"] = pa.array([lists[rid] for rid in columns["rid"]], pa.list_(pa.int64()))
    nested = prepare_quietly(write(tmp_path / "a.parquet", _requests()), tmp_path / "nested", schema_of(tasks=CLICK))
    raw = write(tmp_path / "b.parquet", columns)
    flat = prepare_quietly(raw, tmp_path / "flat", schema_of(tasks=CLICK, layout="flat"))
    grouped = prepare_quietly(raw, tmp_path / "pairs", schema_of(tasks=CLICK))
    for split in ("train", "val"):
        of_nested = {row["key_user"]: row["label_click"] for row in rows(nested, split)}
        assert {row["key_user"]: row["label_click"] for row in rows(grouped, split)} == of_nested
        assert sorted(row["label_click"] for row in rows(flat, split)) == sorted(
            label for labels in of_nested.values() for label in labels
        )


def test_other_tasks_may_follow_it(tmp_path: Path) -> None:
    columns = _requests(bought=[[12], [12], [], []])
    tasks = [*CLICK, {"name": "buy", "in": "bought", "observed": "click"}]
    dataset = prepare_quietly(write(tmp_path / "a.parquet", columns), tmp_path / "out", schema_of(tasks=tasks))
    found = by_request(dataset, "train", 8)["label_buy"]
    assert [None if math.isnan(x) else x for x in found] == [None, 1, None]


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        (
            {"clicked": [10, 12, 11, 99]},
            r"a\.parquet, column 'clicked' \(label of task 'click'\)(.|\n)*list of int(.|\n)*int",
        ),
        (
            {"clicked": [["10"], ["12"], [], []]},
            r"'clicked' \(label of task 'click'\)(.|\n)*numbers, as in .*column 'item'(.|\n)*text(.|\n)*raw.columns",
        ),
        ({"clicked": [[0.5], [], [], []]}, r"row 0, value 0, column 'clicked' \(label of task 'click'\)(.|\n)*0\.5"),
    ],
)
def test_lists_that_do_not_fit_are_located(tmp_path: Path, changes: dict[str, Any], match: str) -> None:
    with pytest.raises(DataError, match=match):
        prepare_quietly(write(tmp_path / "a.parquet", _requests(**changes)), tmp_path / "out", schema_of(tasks=CLICK))
    assert not (tmp_path / "out").exists()


def test_types_may_be_declared(tmp_path: Path) -> None:
    raw = write(tmp_path / "a.parquet", _requests(clicked=[["10"], ["12"], [], []]))
    schema = schema_of(tasks=CLICK, raw={"columns": {"clicked": "integer"}})
    assert by_request(prepare_quietly(raw, tmp_path / "out", schema), "train", 7)["label_click"] == [1, 0]


@pytest.mark.parametrize(
    ("task", "keys", "match"),
    [
        ({"column": "click"}, {"item": "item"}, "in place of `column`"),
        ({"kind": "graded"}, {"item": "item"}, "leave `kind` and `nan` out"),
        ({}, {"request": "rid"}, "`keys.item` is not declared"),
        ({"im": "x"}, {"item": "item"}, "name, column, in, events, kind"),
    ],
)
def test_schemas_that_say_too_much_or_too_little(task: dict[str, str], keys: dict[str, str], match: str) -> None:
    with pytest.raises(SchemaError, match=match):
        schema_of(tasks=[{**CLICK[0], **task}], keys=keys)


def test_the_schema_is_written_as_it_is_read() -> None:
    schema = schema_of(tasks=CLICK)
    assert read_yaml(dump_schema(schema))["tasks"] == [
        {
            "name": "click",
            "column": "",
            "kind": "binary",
            "weight": 1.0,
            "nan": "error",
            "observed": "all",
            "in": "clicked",
        }
    ]
    assert parse_schema(schema.model_dump(mode="json"), "test") == schema
    assert "in" not in schema_of().model_dump(mode="json")["tasks"][0]


ITEMS = st.one_of(st.none(), st.integers(0, 4))


@given(st.lists(st.tuples(st.lists(ITEMS, max_size=5), st.one_of(st.none(), st.lists(ITEMS, max_size=5))), max_size=6))
@settings(max_examples=200, deadline=None)
def test_labels_are_those_of_a_loop(requests: list[tuple[list[int | None], list[int | None] | None]]) -> None:
    counts = np.array([len(shown) for shown, _ in requests], np.int64)
    shown = [-1 if item is None else item for items, _ in requests for item in items]
    rows_of = np.arange(len(requests))
    chunk = Chunk(
        request={"clicked": pa.array([clicked for _, clicked in requests], pa.list_(pa.int64()))},
        candidate={},
        counts=counts,
        split=np.zeros(len(requests), np.int8),
        request_key=rows_of,
        user_key=rows_of,
        request_row=rows_of,
        candidate_row=np.repeat(rows_of, counts),
        nested=True,
        locate=str,
    )
    items = np.array([MISSING_KEY if item == -1 else item for item in shown], np.int64)
    found = listed_labels(chunk, schema_of(tasks=CLICK).tasks[0], items)
    expected = [
        None if clicked is None or item is None else float(item in clicked)
        for shown, clicked in requests
        for item in shown
    ]
    assert [None if null else value for value, null in zip(found.values, found.null, strict=True)] == expected
    left = [
        r
        for r, (shown, clicked) in enumerate(requests)
        for item in clicked or ()
        if item is not None and item not in shown
    ]
    assert found.elsewhere.tolist() == left


def test_a_layout_that_does_not_fit_is_said_of_the_items(tmp_path: Path) -> None:
    raw = write(tmp_path / "a.parquet", _requests())
    with pytest.raises(DistillError, match=r"flat, but items are lists(.|\n)*'item' \(keys.item\)"):
        prepare_quietly(raw, tmp_path / "out", schema_of(tasks=CLICK, layout="flat"))
