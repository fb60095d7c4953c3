"""Writes tiny model-ready datasets in which every value says which row or request it belongs to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from distill.data.checksums import FileChecksums, read_checksums, write_checksums
from distill.data.dataset import load_dataset, write_manifest
from distill.data.format import SCHEMA_FILE, Dataset, Manifest, PartFile, arrow_schema, content_fingerprint
from distill.encodings import SavedEncodings, SavedIds
from distill.schema import Schema, dump_schema, parse_schema, save_schema

IDS = {"encoding": {"type": "ids", "size": 9998}, "size": 10000}
FIELDS = [
    {"name": "user", "side": "request", "kind": "id", **IDS},
    {"name": "age", "side": "request", "kind": "number"},
    {"name": "history", "side": "request", "kind": "sequence", **IDS},
    {"name": "profile", "side": "request", "kind": "vector", "width": 3},
    {"name": "item", "side": "candidate", "kind": "id", **IDS},
    {"name": "price", "side": "candidate", "kind": "number", "privileged": True},
    {"name": "brand", "side": "candidate", "kind": "id", **IDS},
    {"name": "tags", "side": "candidate", "kind": "sequence", **IDS},
    {"name": "image", "side": "candidate", "kind": "vector", "width": 2},
    {"name": "pair", "side": "cross", "kind": "id", "privileged": True, **IDS},
    {"name": "count", "side": "cross", "kind": "number"},
]


def make_schema(layout: str) -> Schema:
    return parse_schema(
        {
            "name": "tiny",
            "layout": layout,
            "fields": FIELDS,
            "tasks": [{"name": "click"}, {"name": "like"}],
            "score": {"tasks": {"click": 1.0}, "columns": {"bid": 1.0}},
            "evaluation": ["utility"],
            "teacher": {"columns": {"click": "a", "like": "b"}, "kind": "logit"},
        },
        "test",
    )


def ragged(lengths: np.ndarray, values: pa.Array) -> pa.Array:
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), values)


def fixed(values: np.ndarray) -> pa.Array:
    return pa.FixedSizeListArray.from_arrays(pa.array(values.ravel().astype(np.float32)), values.shape[1])


def request_columns(r: np.ndarray) -> dict[str, pa.Array]:
    history = r % 4
    return {
        "key_request": pa.array(1000 + r),
        "key_user": pa.array(r % 7),
        "field_user": pa.array(r.astype(np.int32)),
        "field_age": pa.array((r / 2).astype(np.float32)),
        "field_history": ragged(history, pa.array(np.repeat(r, history).astype(np.int32))),
        "field_profile": fixed(np.stack([r, r + 1, r + 2], 1)),
    }


def candidate_columns(n: np.ndarray) -> dict[str, pa.Array]:
    def real(values: np.ndarray) -> pa.Array:
        return pa.array(values.astype(np.float32))

    tags = n % 3
    return {
        "key_item": pa.array(10 * n),
        "stage": pa.array((n % 4).astype(np.int8)),
        "field_item": pa.array(n.astype(np.int32)),
        "field_price": real(n / 4),
        "field_brand": pa.array((n % 5).astype(np.int32)),
        "field_tags": ragged(tags, pa.array(np.repeat(n, tags).astype(np.int32))),
        "field_image": fixed(np.stack([n, -n], 1)),
        "field_pair": pa.array((2 * n).astype(np.int32)),
        "field_count": real(-n),
        "label_click": real(n % 2),
        "label_like": real(np.where(n % 3 == 0, np.nan, 1.0)),
        "value_bid": real(n + 1),
        "value_utility": real(n / 8),
        "teacher_click": real(np.where(n % 5 == 0, np.nan, n / 16)),
        "teacher_like": real(-n / 16),
    }


def hidden_column(n: np.ndarray) -> pa.Array:
    return fixed(np.stack([n, n + 1, n + 2, n + 3], 1))


def make_table(schema: Schema, lengths: Sequence[int], first_request: int, first_row: int) -> pa.Table:
    size = np.asarray(lengths, dtype=np.int64)
    requests = first_request + np.arange(size.size)
    columns = candidate_columns(first_row + np.arange(int(size.sum())))
    if schema.layout == "requests":
        columns = {name: ragged(size, values) for name, values in columns.items()}
        columns["num_candidates"] = pa.array(size.astype(np.int32))
    columns |= request_columns(requests)
    expected = arrow_schema(schema, "val")
    return pa.Table.from_arrays([columns[c.name] for c in expected], schema=expected)


def make_dataset(
    root: Path,
    files: Sequence[Sequence[int]] | Mapping[str, Sequence[Sequence[int]]],
    layout: str = "requests",
    group_size: int = 4,
) -> Dataset:
    """Writes a dataset: one list of request lengths per part file, of the training split or of each split.

    Flat data wants lengths of 1. Rows and requests are numbered from 0 in each split.
    """
    schema = make_schema(layout)
    by_split = files if isinstance(files, Mapping) else {"train": files}
    splits = {split: write_split(root, schema, split, lengths, group_size) for split, lengths in by_split.items()}
    save_schema(schema, root / SCHEMA_FILE)
    ids = {f.table: SavedIds(count=(f.size or 0) - 2) for f in schema.fields if f.encoding.makes_ids}
    encodings = SavedEncodings(tables=ids)
    fingerprint = content_fingerprint(dump_schema(schema), encodings, {**splits, "items": ()})
    write_manifest(
        root, Manifest(fingerprint=fingerprint, source={}, splits=splits, encodings=encodings, ranges={}, counts={})
    )
    return load_dataset(root)


def with_checksums(dataset: Dataset) -> Dataset:
    """Lets the checksums be those of the part files as they are now: as if a writer of ours had written them so."""
    parts = [part for split in dataset.manifest.splits for part in dataset.manifest.splits[split]]
    for folder in {(dataset.root / part.path).parent for part in parts}:
        known = read_checksums(folder)
        found = {name: FileChecksums.of(folder / name) for name in known}
        write_checksums(folder, {name: replace(found[name], blake2b=known[name].blake2b) for name in known})
    return Dataset(dataset.root, dataset.schema, dataset.manifest)


def write_split(
    root: Path, schema: Schema, split: str, files: Sequence[Sequence[int]], group_size: int
) -> tuple[PartFile, ...]:
    (root / split).mkdir(parents=True, exist_ok=True)
    parts, checksums, request, row = [], {}, 0, 0
    for number, lengths in enumerate(files):
        path = root / split / f"part-{number:05d}.parquet"
        table = make_table(schema, lengths, request, row).select(arrow_schema(schema, split).names)
        pq.write_table(table, path, row_group_size=group_size)
        numbers = {"rows": len(lengths), "candidates": sum(lengths), "bytes": path.stat().st_size}
        checksums[path.name] = FileChecksums.of(path)
        parts.append(PartFile(path=f"{split}/{path.name}", blake2b=checksums[path.name].blake2b, **numbers))
        request, row = request + len(lengths), row + sum(lengths)
    write_checksums(root / split, checksums)
    return tuple(parts)


def make_sidecar(
    dataset: Dataset, folder: Path, split: str = "train", group_size: int = 4, hidden: bool = True
) -> Path:
    """Writes aligned signal files for a dataset, with logits n and 2n (NaN at every fourth row)."""
    (folder / split).mkdir(parents=True, exist_ok=True)
    row = 0
    for part in dataset.parts(split):
        n = row + np.arange(part.candidates)
        columns = {
            "teacher_click": pa.array(np.where(n % 4 == 0, np.nan, n).astype(np.float32)),
            "teacher_like": pa.array((2 * n).astype(np.float32)),
        }
        if hidden:
            columns["hidden_top"] = hidden_column(n)
        if dataset.schema.layout == "requests":
            lengths = pq.read_table(dataset.root / part.path)["num_candidates"].to_numpy()
            columns = {name: ragged(lengths, values) for name, values in columns.items()}
        pq.write_table(pa.table(columns), folder / split / Path(part.path).name, row_group_size=group_size)
        row += part.candidates
    return folder
