"""Writes part files whose row groups do not depend on how the rows arrived."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from distill.data.checksums import FileChecksums, write_checksums
from distill.data.format import PartFile
from distill.encodings.arrow import Int64

ROW_GROUP_CANDIDATES = 1 << 16
PART_CANDIDATES = 1 << 20


class PartWriter:
    """Writes rows to `root/folder/part-00000.parquet` and so on.

    A row group is closed as soon as it holds 65,536 candidates, a part file as soon as it holds 1,048,576.

    Args:
        root: The dataset.
        folder: Name of the split, or `items`.
        schema: Columns, exactly.
    """

    def __init__(self, root: Path, folder: str, schema: pa.Schema) -> None:
        self._root, self._folder, self._schema = root, folder, schema
        self._pending: list[pa.RecordBatch] = []
        self._pending_counts: list[Int64] = []
        self._held = 0
        self._writer: pq.ParquetWriter | None = None
        self._rows, self._candidates = 0, 0
        self._parts: list[PartFile] = []
        self._checksums: dict[str, FileChecksums] = {}
        (root / folder).mkdir()

    def add(self, batch: pa.RecordBatch, counts: Int64) -> None:
        """Adds rows with `counts` candidates each; columns beyond the schema are left out."""
        if batch.num_rows == 0:
            return
        self._pending.append(batch.select(self._schema.names))
        self._pending_counts.append(counts)
        self._held += int(counts.sum())
        if self._held >= ROW_GROUP_CANDIDATES:
            self._emit()

    def close(self) -> tuple[PartFile, ...]:
        """Writes what is left and the checksums, and returns all part files."""
        if self._pending:
            self._emit()
        if self._pending:
            table = pa.Table.from_batches(self._pending)
            self._write(table, int(np.concatenate(self._pending_counts).sum()))
        self._finish_part()
        write_checksums(self._root / self._folder, self._checksums)
        return tuple(self._parts)

    def abort(self) -> None:
        """Closes the open file; what was written is worth nothing."""
        if self._writer is not None:
            self._writer.close()

    def _emit(self) -> None:
        """Writes all full row groups of the pending rows."""
        table, counts = pa.Table.from_batches(self._pending), np.concatenate(self._pending_counts)
        ends, begin = np.cumsum(counts), 0
        done = 0
        while ends[-1] - done >= ROW_GROUP_CANDIDATES:
            end = int(np.searchsorted(ends, done + ROW_GROUP_CANDIDATES)) + 1
            self._write(table.slice(begin, end - begin), int(ends[end - 1]) - done)
            begin, done = end, int(ends[end - 1])
            if begin == len(ends):
                break
        rest = table.slice(begin)
        self._pending = rest.to_batches() if len(rest) else []
        self._pending_counts = [counts[begin:]] if len(rest) else []
        self._held = int(counts[begin:].sum())

    def _write(self, table: pa.Table, candidates: int) -> None:
        if self._writer is None:
            # Splitting the bytes of ids and floats is smaller and faster to write than dictionaries; LZ4 is read
            # several times as fast as Zstandard, for somewhat more space.
            leaves = [_leaf(column.name, column.type) for column in self._schema]
            self._writer = pq.ParquetWriter(
                self._path,
                self._schema,
                compression="lz4",
                use_dictionary=[path for path, kind in leaves if pa.types.is_string(kind)],
                column_encoding={path: "BYTE_STREAM_SPLIT" for path, kind in leaves if not pa.types.is_string(kind)},
                write_statistics=False,
            )
        # One chunk per column: pages must not depend on how the rows arrived either.
        self._writer.write_table(table.combine_chunks(), row_group_size=max(1, len(table)))
        self._rows += len(table)
        self._candidates += candidates
        if self._candidates >= PART_CANDIDATES:
            self._finish_part()

    def _finish_part(self) -> None:
        if self._writer is None:
            return
        self._writer.close()
        path, checksums = self._path, FileChecksums.of(self._path)
        name = path.relative_to(self._root).as_posix()
        self._checksums[path.name] = checksums
        size = path.stat().st_size
        self._parts.append(
            PartFile(path=name, rows=self._rows, candidates=self._candidates, bytes=size, blake2b=checksums.blake2b)
        )
        self._writer, self._rows, self._candidates = None, 0, 0

    @property
    def _path(self) -> Path:
        return self._root / self._folder / f"part-{len(self._parts):05d}.parquet"


def _leaf(path: str, kind: pa.DataType) -> tuple[str, pa.DataType]:
    """Name in Parquet of the values of a column, lists or not, and their type."""
    nested = pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind)
    return _leaf(f"{path}.list.element", kind.value_type) if nested else (path, kind)
