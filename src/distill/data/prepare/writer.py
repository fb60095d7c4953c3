"""Writes part files whose row groups do not depend on how the rows arrived."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from distill.data.checksums import FileChecksums, write_checksums
from distill.data.format import PartFile
from distill.encodings.arrow import Int64
from distill.files import fsync_path

ROW_GROUP_CANDIDATES = 1 << 16
PART_CANDIDATES = 1 << 20


@dataclass(frozen=True)
class Cut:
    """Where a row group ends.

    Attributes:
        end: Row behind its last one.
        candidates: In the row group.
        is_last: Whether the part file ends with it.
    """

    end: int
    candidates: int
    is_last: bool


class Cuts:
    """Cuts a stream of rows into row groups and part files.

    A row group is closed as soon as it holds 65,536 candidates, a part file as soon as it holds 1,048,576.
    """

    def __init__(self) -> None:
        self.held = 0
        """Candidates behind the last cut."""
        self._of_part = 0

    def add(self, counts: Int64) -> list[Cut]:
        """Returns the row groups that end within the next rows, which have so many candidates `[n]`."""
        ends, done = np.cumsum(counts), -self.held
        found = []
        while len(ends) and ends[-1] - done >= ROW_GROUP_CANDIDATES:
            end = int(np.searchsorted(ends, done + ROW_GROUP_CANDIDATES)) + 1
            candidates, done = int(ends[end - 1]) - done, int(ends[end - 1])
            self._of_part += candidates
            found.append(Cut(end, candidates, self._of_part >= PART_CANDIDATES))
            if found[-1].is_last:
                self._of_part = 0
        self.held = int(ends[-1]) - done if len(ends) else self.held
        return found


class PartWriter:
    """Writes rows to `root/folder/part-00000.parquet` and so on; see `Cuts`.

    Args:
        root: The dataset.
        folder: Name of the split, or `items`.
        schema: Columns, exactly.
    """

    def __init__(self, root: Path, folder: str, schema: pa.Schema) -> None:
        self._root, self._folder, self._schema = root, folder, schema
        self._cuts = Cuts()
        self._pending: list[pa.RecordBatch] = []
        self._file: OnePartWriter | None = None
        self._behind = ThreadPoolExecutor(1)
        self._written: list[Future[WrittenPart]] = []
        (root / folder).mkdir()

    def add(self, batch: pa.RecordBatch, counts: Int64) -> None:
        """Adds rows with `counts` candidates each; columns beyond the schema are left out."""
        batch, begin = batch.select(self._schema.names), 0
        for cut in self._cuts.add(counts):
            self._pending.append(batch.slice(begin, cut.end - begin))
            self._write(cut.candidates)
            begin = cut.end
            if cut.is_last:
                self._finish_part()
        if begin < batch.num_rows:
            self._pending.append(batch.slice(begin))

    def end(self) -> None:
        """Writes what is left; the last part file is closed meanwhile."""
        if self._pending:
            self._write(self._cuts.held)
        self._finish_part()

    def close(self) -> tuple[PartFile, ...]:
        """Ends, writes the checksums, and returns all part files."""
        self.end()
        written = [part.result() for part in self._written]
        self._behind.shutdown(wait=False)
        return finish_parts(self._root / self._folder, written)

    def abort(self) -> None:
        """Closes the open file; what was written is worth nothing."""
        self._behind.shutdown(wait=False, cancel_futures=True)
        if self._file is not None:
            self._file.abort()

    def _write(self, candidates: int) -> None:
        if self._file is None:
            path = self._root / part_path(self._folder, len(self._written))
            self._file = OnePartWriter(path, self._schema)
        self._file.write(pa.Table.from_batches(self._pending), candidates)
        self._pending = []

    def _finish_part(self) -> None:
        """Has the part file closed and hashed on a thread, while the next one is written."""
        if self._file is not None:
            name = part_path(self._folder, len(self._written))
            self._written.append(self._behind.submit(self._file.close, name))
            self._file = None


@dataclass(frozen=True)
class WrittenPart:
    """A part file that was written, and its checksums."""

    part: PartFile
    checksums: FileChecksums


class OnePartWriter:
    """Writes the row groups of one part file.

    Args:
        path: Of the file.
        schema: Columns, exactly.
    """

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self._path = path
        self._rows, self._candidates = 0, 0
        # Splitting the bytes of ids and floats is smaller and faster to write than dictionaries; LZ4 is read
        # several times as fast as Zstandard, for somewhat more space.
        leaves = [_leaf(column.name, column.type) for column in schema]
        self._writer = pq.ParquetWriter(
            path,
            schema,
            compression="lz4",
            use_dictionary=[name for name, kind in leaves if pa.types.is_string(kind)],
            column_encoding={name: "BYTE_STREAM_SPLIT" for name, kind in leaves if not pa.types.is_string(kind)},
            write_statistics=False,
        )

    def write(self, table: pa.Table, candidates: int) -> None:
        """Writes a row group with so many candidates."""
        # One chunk per column: pages must not depend on how the rows arrived either.
        self._writer.write_table(table.combine_chunks(), row_group_size=max(1, len(table)))
        self._rows += len(table)
        self._candidates += candidates

    def close(self, name: str) -> WrittenPart:
        """Ends the file, whose path below the dataset is `name`, and forces it to disk."""
        self._writer.close()
        fsync_path(self._path)
        checksums, size = FileChecksums.of(self._path), self._path.stat().st_size
        part = PartFile(path=name, rows=self._rows, candidates=self._candidates, bytes=size, blake2b=checksums.blake2b)
        return WrittenPart(part, checksums)

    def abort(self) -> None:
        """Closes the file."""
        self._writer.close()


def part_path(folder: str, number: int) -> str:
    """Path of a part file below the dataset."""
    return f"{folder}/part-{number:05d}.parquet"


def finish_parts(folder: Path, written: Sequence[WrittenPart]) -> tuple[PartFile, ...]:
    """Writes the checksums of the part files of a folder, and returns these."""
    write_checksums(folder, {Path(one.part.path).name: one.checksums for one in written})
    return tuple(one.part for one in written)


def _leaf(path: str, kind: pa.DataType) -> tuple[str, pa.DataType]:
    """Name in Parquet of the values of a column, lists or not, and their type."""
    nested = pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind)
    return _leaf(f"{path}.list.element", kind.value_type) if nested else (path, kind)
