"""What the generators of benchmark data share: their identity, and writing tables as they are made."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq


def generator_hash(version: int, chunk: int, arguments: Mapping[str, object]) -> str:
    """Hashes all that the values of a generator depend on."""
    text = json.dumps([version, chunk, arguments], sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def write_tables(path: Path, tables: Iterator[pa.Table]) -> None:
    """Writes tables of one schema, at least one, to a Parquet file, and makes its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    first = next(tables)
    with pq.ParquetWriter(path, first.schema) as writer:
        writer.write_table(first)
        for table in tables:
            writer.write_table(table)
