"""Columns within structs and lists of structs."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.orc as orc
import pyarrow.parquet as pq
import pytest

from distill.data.prepare.parquet_file import ParquetFile
from distill.data.prepare.paths import with_paths
from distill.errors import DataError
from distill.schema import Schema
from tests.data.prepare.builders import prepare_quietly, rows, schema_of, write

CANDIDATES = "candidates"
WRITERS = {"parquet": pq.write_table, "feather": feather.write_feather, "orc": orc.write_table}


def _nested(**changes: Any) -> dict[str, Any]:
    columns: dict[str, Any] = {
        "rid": ["r1", "r2", "r3", "r4"],
        "user": [{"id": 7, "of": {"age": 30.0}}, {"id": 8, "of": {"age": 50.0}}, {"id": 9, "of": None}, None],
        CANDIDATES: [
            [{"sku": 10, "price": 1.0, "click": 1}, {"sku": 11, "price": 3.0, "click": 0}],
            [
                {"sku": 10, "price": 1.0, "click": 0},
                {"sku": 12, "price": None, "click": 1},
                {"sku": 10, "price": 2.0, "click": 0},
            ],
            [{"sku": 11, "price": 2.0, "click": 1}, None],
            None,
        ],
        "part": ["train", "train", "val", "test"],
    }
    return {**columns, **changes}


def _plain() -> dict[str, Any]:
    table = _nested()
    columns = {"rid": table["rid"], "part": table["part"]}
    columns["uid"] = [7, 8, 9, None]
    columns["age"] = [30.0, 50.0, None, None]
    for name in ("sku", "price", "click"):
        columns[name] = [[c and c[name] for c in row or ()] for row in table[CANDIDATES]]
    return columns


def _schema(user: str, age: str, of: str, **changes: Any) -> Schema:
    return schema_of(
        keys={"request": "rid", "user": user, "item": f"{of}sku"},
        fields=[
            {"name": "uid", "side": "request", "kind": "id", "column": user},
            {"name": "age", "side": "request", "kind": "number", "column": age},
            {"name": "item", "side": "candidate", "kind": "id", "column": f"{of}sku"},
            {"name": "price", "side": "candidate", "kind": "number", "column": f"{of}price"},
        ],
        tasks=[{"name": "click", "column": f"{of}click"}],
        **changes,
    )


NESTED = _schema("user.id", "user.of.age", "candidates[].")


@pytest.mark.parametrize("kind", ["parquet", "feather", "orc", "jsonl"])
def test_paths_lead_to_what_plain_columns_hold(tmp_path: Path, kind: str) -> None:
    table = pa.table(_nested())
    raw = tmp_path / f"a.{kind}"
    if kind == "jsonl":
        raw.write_text("".join(json.dumps(row) + "\n" for row in table.to_pylist()), encoding="utf-8")
    else:
        WRITERS[kind](table, raw)
    nested = prepare_quietly(raw, tmp_path / "nested", NESTED)
    plain = prepare_quietly(write(tmp_path / "b.parquet", _plain()), tmp_path / "plain", _schema("uid", "age", ""))
    for split in ("train", "val", "test"):
        assert repr(rows(nested, split)) == repr(rows(plain, split))  # NaN equals NaN
    assert rows(nested, "train")[0]["label_click"] == [1, 0]
    assert nested.manifest.counts["missing/val/keys.item"] == 1


def test_types_are_declared_by_path(tmp_path: Path) -> None:
    schema = _schema("user.id", "user.of.age", "candidates[].", raw={"columns": {"candidates[].sku": "text"}})
    dataset = prepare_quietly(write(tmp_path / "a.parquet", _nested()), tmp_path / "out", schema)
    assert rows(dataset, "train")[0]["key_item"] != [10, 11]  # text is hashed


def test_a_full_name_comes_before_a_path(tmp_path: Path) -> None:
    raw = write(tmp_path / "a.parquet", {"user": [{"age": 1}], "user.age": [2]})
    file = with_paths(ParquetFile(raw), ["user.age"])
    assert next(file.batches(["user.age"], 1 << 20)).column("user.age").to_pylist() == [2]


def test_the_rows_of_a_slice_are_its_own(tmp_path: Path) -> None:
    raw = write(tmp_path / "a.parquet", _nested())
    file = with_paths(ParquetFile(raw), ["candidates[].sku", "user.of.age", "rid"])
    (batch,) = file.batches(["candidates[].sku", "rid", "user.of.age"], 1 << 20, ["rid"], start=1)
    assert batch.column(0).to_pylist() == [[10, 12, 10], [11, None], None]
    assert batch.column(2).to_pylist() == [50.0, None, None]


@pytest.mark.parametrize(
    ("of", "match"),
    [
        (
            "candidates[].x",
            r"leads nowhere(.|\n)*a\.parquet, column 'candidates\[\]\.xsku'(.|\n)*expected: (.*, )?candidates\[\]\.sku",
        ),
        ("candidates.", r"leads nowhere(.|\n)*candidates: list<"),
        ("candidate[].", r"missing(.|\n)*column 'candidate\[\]\.sku' \(keys.item\)"),
    ],
)
def test_paths_that_lead_nowhere_are_named(tmp_path: Path, of: str, match: str) -> None:
    schema = _schema("user.id", "user.of.age", of).model_copy(update={"tasks": NESTED.tasks})
    with pytest.raises(DataError, match=match):
        prepare_quietly(write(tmp_path / "a.parquet", _nested()), tmp_path / "out", schema)


def test_a_struct_is_no_value(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"'user' \(keys.user\)(.|\n)*struct<(.|\n)*by its path"):
        prepare_quietly(
            write(tmp_path / "a.parquet", _nested()), tmp_path / "out", _schema("user", "user.of.age", "candidates[].")
        )
