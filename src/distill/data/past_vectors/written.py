"""Writes a log again, part by part, with vectors of the past beside each row."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from distill.data.past_vectors.history import Float32, PastVectors
from distill.data.past_vectors.requests import RequestTimes
from distill.data.prepare.keys import row_keys
from distill.data.prepare.source import RawBatch, RawFiles
from distill.encodings.arrow import from_lengths
from distill.files import atomic_file, room_for
from distill.schema import Schema


@dataclass(frozen=True)
class LogWriter:
    """Writes rows of raw files with one more column.

    Attributes:
        files: The log.
        schema: Of it.
        columns: Raw columns that are written.
        name: Of the new column: lists of vectors, oldest first.
        requests: When its requests were.
        past: What users did.
        most: Vectors of a row at most.
        delay: Until a vector is there, in the unit of the times.
    """

    files: RawFiles
    schema: Schema
    columns: Sequence[str]
    name: str
    requests: RequestTimes
    past: PastVectors
    most: int
    delay: int

    def write(self, path: Path, start: int, stop: int) -> None:
        """Writes rows, counted over all files, as one Parquet file that is there whole or not at all."""
        path.parent.mkdir(parents=True, exist_ok=True)
        with room_for(path), atomic_file(path) as beside:
            tables = self._tables(start, stop)
            first = next(tables)
            with pq.ParquetWriter(beside, first.schema, compression="zstd", write_page_checksum=True) as writer:
                writer.write_table(first)
                for table in tables:
                    writer.write_table(table)

    def _tables(self, start: int, stop: int) -> Iterator[pa.Table]:
        for batch in self.files.batches(self.columns, (), start, stop):
            yield pa.table({**batch.columns, self.name: self._lists(batch)})

    def _lists(self, batch: RawBatch) -> pa.Array:
        place = self.requests.find(row_keys(batch, self.schema, self.files).request)
        users, times = self.requests.users[place], self.requests.times[place]
        found, lengths = self.past.before(users, times, self.most, self.delay)
        return from_lengths(_vectors(self.past.vectors[found]), lengths)


def _vectors(vectors: Float32) -> pa.Array:
    count, width = vectors.shape
    return from_lengths(pa.array(vectors.reshape(-1)), np.full(count, width, np.int64))
