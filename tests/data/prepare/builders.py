"""Tiny raw files and schemas."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from distill.data.format import Dataset, Split
from distill.data.prepare import prepare
from distill.data.raw import RawDataset
from distill.data.split import ColumnSplit, SplitRule
from distill.schema import Schema, parse_schema

BY_COLUMN = ColumnSplit("part")
NAN = math.nan


def schema_of(**changes: Any) -> Schema:
    """A schema with one field a side, changed at will."""
    data: dict[str, Any] = {
        "name": "tiny",
        "layout": "requests",
        "keys": {"request": "rid", "user": "uid", "item": "item"},
        "fields": [
            {"name": "uid", "side": "request", "kind": "id"},
            {"name": "item", "side": "candidate", "kind": "id"},
            {"name": "price", "side": "candidate", "kind": "number"},
        ],
        "tasks": [{"name": "click"}],
    }
    return parse_schema({**data, **changes}, "test")


def pairs(**changes: Any) -> dict[str, Any]:
    """Four requests of (request, candidate) rows: r1 and r2 train, r3 val, r4 test."""
    columns: dict[str, Any] = {
        "rid": ["r1", "r1", "r2", "r2", "r2", "r3", "r4"],
        "uid": [7, 7, 8, 8, 8, 9, 7],
        "item": [10, 11, 10, 12, 10, 11, 99],
        "price": [1.0, 3.0, 1.0, 3.0, 2.0, 2.0, 100.0],
        "click": [1, 0, 0, 1, 0, 1, 0],
        "part": ["train"] * 5 + ["val", "test"],
    }
    return {**columns, **changes}


def write(path: Path, columns: dict[str, Any], **options: Any) -> Path:
    """Writes columns as Parquet."""
    pq.write_table(pa.table(columns), path, **options)
    return path


def prepare_quietly(
    files: Path | tuple[Path, ...],
    out: Path,
    schema: Schema | None = None,
    split: SplitRule = BY_COLUMN,
    items: Path | None = None,
    memory_bytes: int = 1 << 30,
) -> Dataset:
    """Prepares without a bar."""
    paths = files if isinstance(files, tuple) else (files,)
    raw = RawDataset(paths, schema or schema_of(), split, items)
    return prepare(raw, out, memory_bytes=memory_bytes, progress=False)


def rows(dataset: Dataset, split: Split) -> list[dict[str, Any]]:
    """Reads a split back as plain rows."""
    tables = [pq.read_table(dataset.root / part.path) for part in dataset.manifest.splits[split]]
    return pa.concat_tables(tables).to_pylist() if tables else []


def by_request(dataset: Dataset, split: Split, user: int) -> dict[str, Any]:
    """Returns the only request of a user in a split."""
    (row,) = [row for row in rows(dataset, split) if row["key_user"] == user]
    return row


def same_numbers(found: list[float], expected: list[float]) -> bool:
    """Whether numbers are the same to five places, NaN where NaN is expected."""
    return [None if math.isnan(x) else round(x, 5) for x in found] == [
        None if math.isnan(x) else round(x, 5) for x in expected
    ]
