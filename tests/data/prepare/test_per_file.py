"""Files that number their requests anew."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from distill.data.format import REQUEST_KEY, SPLITS, Dataset, Split
from distill.data.prepare import prepare
from distill.data.propose import propose, read_sample, schema_text
from distill.data.raw import RawDataset
from distill.data.split import RandomSplit
from distill.errors import SchemaError
from distill.schema import Schema, parse_schema

DATA = {
    "name": "shop",
    "layout": "requests",
    "keys": {"request": "search_id", "item": "item_id", "per_file": True},
    "fields": [
        {"name": "age", "side": "request", "kind": "number"},
        {"name": "item_id", "side": "candidate", "kind": "id"},
    ],
    "tasks": [{"name": "click"}],
}


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, ...]:
    """Both number their searches from 0; rows of a search are scattered."""
    paths = tuple(tmp_path / f"{name}.parquet" for name in ("train", "test"))
    for number, path in enumerate(paths):
        rows = [
            (search, 20 + search + 40 * number, 7 * search + i, int(i == 0)) for i in range(4) for search in range(30)
        ]
        columns = dict(zip(["search_id", "age", "item_id", "click"], map(list, zip(*rows, strict=True)), strict=True))
        pq.write_table(pa.table(columns), path)
    return paths


def _schema(**keys: object) -> Schema:
    return parse_schema({**DATA, "keys": {**DATA["keys"], **keys}}, "x.yaml")  # type: ignore[dict-item]


def test_equal_ids_of_two_files_are_two_requests(files: tuple[Path, ...], tmp_path: Path) -> None:
    raw = RawDataset(files[:1], _schema(), RandomSplit(0.2, 0.2), apart={"test": files[1:]})
    dataset = prepare(raw, tmp_path / "out", progress=False)
    found = {name: pa.concat_tables(map(pq.read_table, _parts(dataset, name))) for name in SPLITS}
    assert sum(len(table) for table in found.values()) == 60
    assert len(found["test"]) == 30
    assert set(found["test"]["raw_request"].to_pylist()) == set(range(30))
    first = pa.concat_tables([found["train"], found["val"]]).select([REQUEST_KEY, "raw_request"])
    assert first[REQUEST_KEY].to_pylist() == first["raw_request"].to_pylist()
    assert not set(first[REQUEST_KEY].to_pylist()) & set(found["test"][REQUEST_KEY].to_pylist())


def _parts(dataset: Dataset, name: Split) -> list[Path]:
    return [dataset.root / part.path for part in dataset.parts(name)]


def test_without_it_they_are_one(files: tuple[Path, ...], tmp_path: Path) -> None:
    with pytest.raises(Exception, match="several values within one request"):
        prepare(RawDataset(files, _schema(per_file=None), RandomSplit()), tmp_path / "out", progress=False)


def test_it_is_proposed_where_files_differ(files: tuple[Path, ...]) -> None:
    text = schema_text(propose(read_sample(files, 1000)), "shop", "two files")
    assert "  per_file: true  # 30 ids are in several files, but age differ there" in text
    assert "{name: age, side: request" in text
    assert "per_file" not in schema_text(propose(read_sample(files[:1], 1000)), "shop", "one file")


def test_parts_of_one_log_are_not_taken_for_it(tmp_path: Path, files: tuple[Path, ...]) -> None:
    table = pq.read_table(files[0])
    parts = [tmp_path / "a.parquet", tmp_path / "b.parquet"]
    for i, path in enumerate(parts):
        pq.write_table(table.slice(60 * i, 60), path)
    text = schema_text(propose(read_sample(parts, 1000)), "shop", "two parts")
    assert "per_file" not in text
    assert "{name: age, side: request" in text


def test_what_it_cannot_go_with_is_refused() -> None:
    with pytest.raises(SchemaError, match=r"keys\.request"):
        parse_schema({**DATA, "layout": "flat", "keys": {"per_file": True}}, "x.yaml")
    events = {"name": "buy", "events": {"by": ["request", "item"], "within": 3}}
    keys = {"request": "search_id", "item": "item_id", "time": "t", "per_file": True}
    with pytest.raises(SchemaError, match="per_file"):
        parse_schema({**DATA, "keys": keys, "tasks": [events]}, "x.yaml")
