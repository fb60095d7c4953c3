"""Ids that are text are kept beside their hashes, and written beside what a teacher says."""

from __future__ import annotations

import datetime
import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from distill.data.format import ITEM_KEY, RAW_ITEM, RAW_REQUEST, REQUEST_KEY, SPLITS, Dataset
from distill.signals.aligned import write_aligned
from tests.data.prepare.builders import pairs, prepare_quietly, rows, schema_of, write

DAY = datetime.date(2026, 3, 1)
SKUS = ["a", "b", "a", "c", None, "b", "é"]


def _as_requests(columns: dict[str, Any]) -> dict[str, Any]:
    """The rows of pairs as one row a request."""
    starts = [0, 2, 5, 6, 7]
    groups = list(itertools.pairwise(starts))
    per_request = {name: [columns[name][a] for a, _ in groups] for name in ("rid", "uid", "part")}
    return {**per_request, **{name: [columns[name][a:b] for a, b in groups] for name in ("item", "price", "click")}}


@pytest.mark.parametrize("shape", ["pairs", "requests"])
def test_text_is_kept_as_it_is(tmp_path: Path, shape: str) -> None:
    columns = pairs(item=SKUS)
    raw = write(tmp_path / "a.parquet", _as_requests(columns) if shape == "requests" else columns)
    dataset = prepare_quietly(raw, tmp_path / "out")
    found = {row[RAW_REQUEST]: row[RAW_ITEM] for split in SPLITS for row in rows(dataset, split)}
    assert found == {"r1": ["a", "b"], "r2": ["a", "c", None], "r3": ["b"], "r4": ["é"]}


def test_flat_rows_keep_their_text(tmp_path: Path) -> None:
    columns = pairs(item=pa.array(SKUS).dictionary_encode())
    dataset = prepare_quietly(write(tmp_path / "a.parquet", columns), tmp_path / "out", schema_of(layout="flat"))
    found = [(row[RAW_REQUEST], row[RAW_ITEM]) for split in SPLITS for row in rows(dataset, split)]
    assert found == list(zip(columns["rid"], SKUS, strict=True))


def test_candidates_that_are_dropped_take_their_text_with_them(tmp_path: Path) -> None:
    columns = pairs(item=["a", "b", "a", "c", "a", "b", "d"])
    dataset = prepare_quietly(write(tmp_path / "a.parquet", columns), tmp_path / "out", schema_of(duplicates="first"))
    assert {row[RAW_REQUEST]: row[RAW_ITEM] for row in rows(dataset, "train")} == {"r1": ["a", "b"], "r2": ["a", "c"]}


def test_times_are_kept_as_the_text_that_is_hashed(tmp_path: Path) -> None:
    columns = pairs(rid=pa.array([DAY] * 2 + [DAY.replace(day=2)] * 3 + [DAY.replace(day=3), DAY.replace(day=4)]))
    dataset = prepare_quietly(write(tmp_path / "a.parquet", columns), tmp_path / "out")
    assert sorted(row[RAW_REQUEST] for row in rows(dataset, "train")) == ["2026-03-01", "2026-03-02"]


@pytest.mark.parametrize(
    ("keys", "kept"),
    [
        ({"request": "rid", "item": "item"}, [RAW_REQUEST]),
        ({"request": "rid", "item": "sku"}, [RAW_REQUEST, RAW_ITEM]),
        ({"request": "rid", "item": "sku", "keep": False}, []),
        ({"request": "number", "item": "item"}, []),
        ({"request": "number", "item": "sku"}, [RAW_ITEM]),
        ({}, []),
    ],
)
def test_what_is_kept(tmp_path: Path, keys: dict[str, Any], kept: list[str]) -> None:
    columns = pairs(sku=SKUS, number=[1.0, 1.0, 2.0, 2.0, 2.0, 3.0, 4.0])
    schema = schema_of(layout="requests" if keys else "flat", keys=keys)
    dataset = prepare_quietly(write(tmp_path / "a.parquet", columns), tmp_path / "out", schema)
    assert [name for name in rows(dataset, "train")[0] if name.startswith("raw_")] == kept


def _signals(dataset: Dataset, folder: Path, nested: bool) -> pa.Table:
    """Signals of the training split whose logit is the number of the candidate, with keys."""
    (part,) = dataset.parts("train")
    logits = np.arange(part.candidates, dtype=np.float32)
    path = folder / part.path
    write_aligned({"teacher_click": logits}, dataset.open(part), path, {}, nested, [REQUEST_KEY, ITEM_KEY])
    return pq.read_table(path)


@pytest.mark.parametrize("items", [SKUS, [10, 11, 10, 12, None, 11, 99]])
def test_signals_can_be_joined_with_the_raw_rows(tmp_path: Path, items: list[Any]) -> None:
    dataset = prepare_quietly(write(tmp_path / "a.parquet", pairs(item=pa.array(items))), tmp_path / "out")
    found = _signals(dataset, tmp_path / "signals", True).to_pylist()
    first = {row[REQUEST_KEY]: row[ITEM_KEY] for row in found}
    assert first == {"r1": items[:2], "r2": items[2:5]}
    assert [x for row in found for x in row["teacher_click"]] == [0, 1, 2, 3, 4]


def test_signals_of_flat_rows_have_numbers_as_they_were(tmp_path: Path) -> None:
    columns = pairs(rid=[2**62, 1, 2, 3, -4, 5, 6], item=pa.array([10, None, 10, 12, 10, 11, 99]))
    dataset = prepare_quietly(write(tmp_path / "a.parquet", columns), tmp_path / "out", schema_of(layout="flat"))
    found = _signals(dataset, tmp_path / "signals", False)
    assert found[REQUEST_KEY].to_pylist() == [2**62, 1, 2, 3, -4]
    assert found[ITEM_KEY].to_pylist() == [10, None, 10, 12, 10]
