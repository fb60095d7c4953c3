"""Sequences of vectors: from raw rows of every shape to batches, and what is wrong with them is named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import torch

from distill.data.datamodule import Loading, RankingDataModule
from distill.data.missing import missing_row
from distill.data.stream import iterate_part
from distill.errors import DataError, SchemaError
from distill.schema import Side
from tests.data.prepare.builders import pairs, prepare_quietly, rows, schema_of, write

FIELDS: list[dict[str, Any]] = [
    {"name": "felt", "side": "request", "kind": "vectors", "width": 2, "max_length": 3},
    {"name": "item", "side": "candidate", "kind": "id"},
]
OF_REQUESTS = [[[0.5, 1.0], None, [2.0, 3.0]], [[float(i), -1.0] for i in range(5)], None, []]
KEPT = [[[0.5, 1.0], [2.0, 3.0]], [[2.0, -1.0], [3.0, -1.0], [4.0, -1.0]], [], []]
KIND = pa.list_(pa.list_(pa.float64()))


def of_pairs(lists: list[Any]) -> pa.Array:
    """The lists of r1, r2, r3, r4 in the rows of their candidates."""
    return pa.array([lists[0]] * 2 + [lists[1]] * 3 + lists[2:], KIND)


def raw(shape: str, lists: list[Any]) -> dict[str, Any]:
    """Columns of a shape; flat rows have no request."""
    if shape != "requests":
        return pairs(felt=of_pairs(lists))
    nested = {"item": [[10, 11], [10, 12, 10], [11], [99]], "click": [[1, 0], [0, 1, 0], [1], [0]]}
    parts = ["train", "train", "val", "test"]
    return {"rid": ["r1", "r2", "r3", "r4"], **nested, "felt": pa.array(lists, KIND), "part": parts}


@pytest.mark.parametrize("shape", ["requests", "pairs", "flat"])
def test_they_are_prepared_and_read(tmp_path: Path, shape: str) -> None:
    layout, keys = ("flat", {}) if shape == "flat" else ("requests", {"request": "rid"})
    schema = schema_of(fields=FIELDS, layout=layout, keys={**keys, "item": "item"})
    dataset = prepare_quietly(write(tmp_path / "raw.parquet", raw(shape, OF_REQUESTS)), tmp_path / "out", schema)
    times = (2, 3) if shape == "flat" else (1, 1)
    expected = {"train": [KEPT[0]] * times[0] + [KEPT[1]] * times[1], "val": [KEPT[2]], "test": [KEPT[3]]}
    for split, lists in expected.items():
        found = [row["field_felt"] for row in rows(dataset, split)]
        assert sorted(found) == sorted(lists)
        batches = list(iterate_part(dataset, split, 0, dataset.schema, 100))
        ragged = batches[0].request.sequences["felt"]
        assert ragged.values.dtype == torch.float32
        assert ragged.values.shape == (sum(map(len, lists)), 2)
        assert ragged.lengths.tolist() == [len(vectors) for vectors in found]
        assert ragged.values.tolist() == [vector for vectors in found for vector in vectors]
    assert dataset.manifest.counts["missing/train/felt"] == times[0]
    nothing = missing_row(dataset, dataset.schema.side(Side.REQUEST)).sequences["felt"]
    assert (nothing.values.shape, nothing.lengths.tolist()) == ((0, 2), [0])


def test_json_lines_hold_them_too(tmp_path: Path) -> None:
    """Also where one file holds whole numbers alone, and a list is empty."""
    lines = pa.table(raw("pairs", [[[1, 2]], [[0.5, 1.5]], [], None])).to_pylist()
    for name, part in (("a", lines[:2]), ("b", lines[2:])):
        content = [json.dumps({**row, "felt": row["felt"] if name == "b" else [[1, 2]]}) for row in part]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(content), encoding="utf-8")
    files = (tmp_path / "a.jsonl", tmp_path / "b.jsonl")
    dataset = prepare_quietly(files, tmp_path / "out", schema_of(fields=FIELDS))
    assert sorted(row["field_felt"] for row in rows(dataset, "train")) == [[[0.5, 1.5]], [[1.0, 2.0]]]


@pytest.mark.parametrize("resident", [None, "host"])
def test_batches_of_a_loader_hold_them(tmp_path: Path, resident: Any) -> None:
    schema = schema_of(fields=FIELDS)
    dataset = prepare_quietly(write(tmp_path / "raw.parquet", raw("pairs", OF_REQUESTS)), tmp_path / "out", schema)
    module = RankingDataModule(dataset.root, Loading(2, 2, 100, resident=resident))
    module.setup("fit")
    found = [batch.request.sequences["felt"] for batch in module.train_dataloader()]
    lists = [one.values.tolist() for one in found]
    assert sorted(lists) == sorted(KEPT[:2])


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ([[1.0, 2.0, 3.0]], "field 'felt'.*2 numbers.*3 numbers"),
        ([[1.0, None]], "A number inside a vector is null"),
        ([[float("inf"), 0.0]], "row 0"),
        ([[float("nan"), 0.0]], "value 0"),
        ([[1e39, 0.0]], "felt"),
    ],
)
def test_wrong_vectors_are_named(tmp_path: Path, value: Any, said: str) -> None:
    columns = raw("pairs", [value, *OF_REQUESTS[1:]])
    with pytest.raises(DataError, match=f"(?s){said}"):
        prepare_quietly(write(tmp_path / "raw.parquet", columns), tmp_path / "out", schema_of(fields=FIELDS))


def test_nan_may_mean_zero(tmp_path: Path) -> None:
    fields = [{**FIELDS[0], "nan": "missing"}, FIELDS[1]]
    columns = raw("pairs", [[[1.0, None], [float("nan"), 2.0]], *OF_REQUESTS[1:]])
    dataset = prepare_quietly(write(tmp_path / "raw.parquet", columns), tmp_path / "out", schema_of(fields=fields))
    assert [[1.0, 0.0], [0.0, 2.0]] in [row["field_felt"] for row in rows(dataset, "train")]


@pytest.mark.parametrize("column", [[[1.0, 2.0]] * 7, [[["a"]]] * 7, [3.0] * 7])
def test_a_column_of_something_else_is_named(tmp_path: Path, column: Any) -> None:
    path = write(tmp_path / "raw.parquet", pairs(felt=column))
    with pytest.raises(DataError, match=r"(?s)felt.*list of list of int or float"):
        prepare_quietly(path, tmp_path / "out", schema_of(fields=FIELDS))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"side": "candidate"}, "must be of side request"),
        ({"width": None}, "needs its `width`"),
        ({"encoding": "log"}, "identity"),
        ({"raw": {"delimiters": {"felt": "|"}}}, "lists of vectors"),
    ],
)
def test_a_schema_that_cannot_be_is_refused(changes: dict[str, Any], said: str) -> None:
    of_schema = {"raw": changes.pop("raw")} if "raw" in changes else {}
    with pytest.raises(SchemaError, match=said):
        schema_of(fields=[{**FIELDS[0], **changes}, FIELDS[1]], **of_schema)
