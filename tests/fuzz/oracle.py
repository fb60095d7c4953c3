"""Judges what `prepare` did with a case: a located error, or a dataset that is right in every value."""

from __future__ import annotations

import json
import math
import random
import traceback
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from distill.data.dataset import load_dataset
from distill.data.format import SPLITS, Dataset
from distill.data.prepare import prepare
from distill.data.raw import RawDataset
from distill.data.split import ColumnSplit
from distill.data.stream import BatchLoader, SplitReader, StreamOrder, plan_epoch
from distill.encodings import FittedEncodings
from distill.errors import DistillError
from distill.schema import parse_schema
from tests.fuzz.cases import Case, make_case
from tests.fuzz.files import write_case
from tests.fuzz.mutations import mutate
from tests.fuzz.reference import Encoder, absent, group, labels, plain
from tests.fuzz.schemas import mutate_schema

ORDER = StreamOrder(batch_candidates=5, shuffle_buffer=8, num_shards=2, seed=0, shuffle=True)


def run_case(seed: int, folder: Path) -> str:
    """Makes, writes and prepares one case.

    Returns:
        `refused`, `correct`, or `unwritable` if Arrow could not write the case.

    Raises:
        AssertionError: Neither; says the seed and the mutations.
    """
    rng = random.Random(seed)
    case = make_case(rng)
    mutate(rng, case)
    if rng.random() < 0.1:
        case.schema = mutate_schema(rng, case.schema)
        case.notes.append("schema")
        case.damaged = True
    try:
        paths, items = write_case(rng, case, folder)
    except (pa.ArrowException, UnicodeError, OSError, ValueError):
        return "unwritable"
    try:
        schema = parse_schema(case.schema, "schema.yaml")
        out = folder / "out"
        raw = RawDataset(paths, schema, case.split, items)
        dataset = prepare(raw, out, memory_bytes=rng.choice([1 << 30, 1 << 14]), progress=False)
    except DistillError as refusal:
        _check_refusal(refusal, folder, f"seed {seed}, {case.notes}")
        return "refused"
    except BaseException as error:
        raise AssertionError(f"seed {seed}, {case.notes}: {''.join(traceback.format_exception(error))}") from error
    try:
        check_dataset(dataset, case)
    except Exception as error:
        raise AssertionError(f"seed {seed}, {case.notes}: wrong result: {traceback.format_exc()}") from error
    return "correct"


def _check_refusal(refusal: DistillError, folder: Path, what: str) -> None:
    assert refusal.where, f"{what}: an error without a place: {refusal}"
    assert not (folder / "out").exists(), what
    assert not list(folder.glob(".out*")), what


def check_dataset(dataset: Dataset, case: Case) -> None:
    """Checks all that can be known of a dataset from outside."""
    dataset = load_dataset(dataset.root)
    json.loads((dataset.root / "manifest.json").read_text(), parse_constant=_refuse_constant)
    FittedEncodings.load(dataset.root, dataset.manifest.encodings)
    counts = dataset.manifest.counts
    assert sum(counts[f"requests/{s}"] for s in SPLITS) == sum(p.rows for s in SPLITS for p in dataset.parts(s))
    assert counts["dropped"] == 0
    for split in SPLITS:
        _check_reading(dataset, split)
    for part in dataset.manifest.items:
        assert pq.read_table(dataset.root / part.path).num_rows == part.rows
    if not case.damaged:
        used = _columns(case)
        tables = [table.select([name for name in table.column_names if name in used]) for table in case.tables]
        rows = [row for table in tables for row in plain(table.to_pylist())]
        assert counts["rows_read"] == len(rows)
        if isinstance(case.split, ColumnSplit):
            compare(dataset, case, rows)


def _columns(case: Case) -> set[str]:
    """Raw columns that the slow encoder looks at."""
    specs = [*case.schema["fields"], *case.schema["tasks"]]
    keys = [case.schema["keys"].get(key) for key in ("request", "stage")]
    return {"part", *keys, *(spec.get("column") or spec["name"] for spec in specs)} - {None}


def _refuse_constant(name: str) -> None:
    raise AssertionError(f"the manifest holds {name}")


def _check_reading(dataset: Dataset, split: Any) -> None:
    total = sum(part.candidates for part in dataset.parts(split))
    if total == 0:
        return
    signals = "dataset" if dataset.schema.logged_tasks else None
    reader = SplitReader.open(dataset, dataset.schema, split, signals)
    seen = []
    for batch in BatchLoader(reader, plan_epoch(reader.index, ORDER, 0), ahead=False):
        seen += batch.row[batch.weight > 0].tolist()
        for side, block in (("request", batch.request), ("candidate", batch.candidate), ("cross", batch.cross)):
            sizes = [f.size for f in dataset.schema.fields if f.side.value == side and f.is_id]
            for position, size in enumerate(sizes):
                assert 0 <= int(block.ids[:, position].min()) <= int(block.ids[:, position].max()) < (size or 0)
            for name, ragged in block.sequences.items():
                values, size = ragged.values, dataset.schema.field(name).size or 0
                assert not len(values) or 0 <= int(values.min()) <= int(values.max()) < size
            for numbers in (block.numbers, *block.vectors.values(), batch.labels):
                assert torch.isfinite(numbers).all()
    assert sorted(seen) == list(range(total))


def compare(dataset: Dataset, case: Case, rows: list[dict[str, Any]]) -> None:
    """Compares every encoded field and label with the slow encoder."""
    assert isinstance(case.split, ColumnSplit)
    schema, specs = dataset.schema, {spec["name"]: spec for spec in case.schema["fields"]}
    requests = group(rows, case.shape, case.schema)
    by_split = {s: [r for r in requests if r[0][case.split.column] == s] for s in SPLITS}
    for name, spec in specs.items():
        encoding = schema.field(name).encoding.model_dump(exclude_none=True)
        raw = {s: _raw(by_split[s], spec) for s in SPLITS}
        training = raw["train"]
        if spec["kind"] == "sequence":
            probe = Encoder(spec, {"type": "identity"}, [])
            training = [item for value in training for item in probe.inside(value)]
        encoder = Encoder(spec, encoding, training)
        for split in SPLITS:
            expected = [encoder.encode(value) for value in raw[split]]
            found = _column(dataset, split, f"field_{name}", spec["side"] != "request")
            _same(case, f"{split} {name}", found, expected)
    for split in SPLITS:
        expected_labels = [labels(case.schema, c) for _, candidates in by_split[split] for c in candidates]
        for task in schema.task_names:
            expected = [label[task] for label in expected_labels]
            _same(case, f"{split} label {task}", _column(dataset, split, f"label_{task}", True), expected)


def _raw(requests: list[tuple[Any, list[Any]]], spec: dict[str, Any]) -> list[Any]:
    column = spec.get("column") or spec["name"]
    if spec["side"] == "request":
        return [request[column] for request, _ in requests]
    return [candidate[column] for _, candidates in requests for candidate in candidates]


def _column(dataset: Dataset, split: Any, name: str, per_candidate: bool) -> list[Any]:
    values = [v for p in dataset.parts(split) for v in pq.read_table(dataset.root / p.path)[name].to_pylist()]
    nested = per_candidate and dataset.schema.layout == "requests"
    return [value for inner in values for value in inner] if nested else values


def _same(case: Case, what: str, found: list[Any], expected: list[Any]) -> None:
    assert len(found) == len(expected), f"{what}: {len(found)} values instead of {len(expected)}"
    if case.shape == "pairs":  # gathered requests come in the order of their hash
        found, expected = sorted(found, key=_order), sorted(expected, key=_order)
        if any(value is None or (isinstance(value, list) and None in value) for value in expected):
            return
    for one, other in zip(found, expected, strict=True):
        assert _close(one, other), f"{what}: {one} instead of {other}"


def _order(value: Any) -> Any:
    return [_order(item) for item in value] if isinstance(value, list) else (-1e300 if absent(value) else value)


def _close(found: Any, expected: Any) -> bool:
    if isinstance(expected, list):
        return len(found) == len(expected) and all(map(_close, found, expected))
    if expected is None:
        return bool(found >= 2)
    if isinstance(expected, int):
        return bool(found == expected)
    if math.isnan(expected):
        return math.isnan(found)
    return bool(np.isclose(found, expected, rtol=1e-4, atol=1e-5))
