"""Parquet files whose footer and column chunks are compared with their checksums before anything is made of them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from distill.data.checksums import MAGIC, FileChecksums, UInt64, digest, read_footer
from distill.errors import DataError
from distill.files import hash_bytes
from distill.places.opened import opened, present

_GAP = 1 << 16  # fewer bytes between two column chunks are read with them; more than Arrow's own 8 KiB
_REMEDY = "The file is gone, cut short or damaged. Prepare (or score) the data again."


def unreadable(path: Path, error: Exception, group: int | None = None) -> DataError:
    """Says that a Parquet file cannot be read."""
    return DataError(
        "A Parquet file cannot be read.",
        where=f"{path}, {'footer or request lengths' if group is None else f'row group {group}'}",
        found=f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'no message'}",
        remedy=_REMEDY,
    )


@dataclass(frozen=True, eq=False)
class CheckedFile:
    """A Parquet file, indexed.

    What Arrow decodes are the very bytes that were compared with the checksums, not bytes that are read once more.

    Attributes:
        path: Where it is.
        metadata: Its footer.
        schema: Its columns.
        chunks: Start, size and checksum of every column chunk `[G, C, 3]`; None for a file that was written without,
            of which only the page checksums are checked, if it has some.
    """

    path: Path
    metadata: Any
    schema: pa.Schema
    chunks: UInt64 | None

    @classmethod
    def open(cls, path: Path, checksums: FileChecksums | None) -> CheckedFile:
        """Reads the footer.

        Raises:
            DataError: The file cannot be read, or the footer is not the one that was written.
        """
        try:
            footer = read_footer(path)
            if checksums is not None and (found := hash_bytes(footer)) != checksums.footer:
                raise _changed(f"{path}, footer", checksums.footer, found)
            with pq.ParquetFile(pa.BufferReader(footer)) as file:
                metadata, schema = file.metadata, file.schema_arrow
            _ = schema.names  # decodes them
            chunks = None if checksums is None else _with_starts(checksums, metadata)
        except (OSError, ValueError, pa.ArrowException) as error:
            raise unreadable(path, error) from error
        return cls(path, metadata, schema, chunks)

    @property
    def num_row_groups(self) -> int:
        """Number of row groups."""
        return int(self.metadata.num_row_groups)

    @property
    def rows(self) -> list[int]:
        """Rows of each row group."""
        return [int(self.metadata.row_group(group).num_rows) for group in range(self.num_row_groups)]

    def read(self, group: int, columns: Sequence[str], check: bool = True) -> pa.Table:
        """Reads columns of a row group.

        Args:
            group: Which row group.
            columns: Names.
            check: Whether to compare them with their checksums; a benchmark shows what that costs.

        Raises:
            DataError: The file cannot be read, or a column is not what was written.
        """
        try:
            if missing := [name for name in columns if self.schema.get_field_index(name) < 0]:
                raise pa.ArrowKeyError(f"no column {missing[0]}, or two of them")
            summed = check and self.chunks is not None  # what holds of a whole chunk holds of its pages
            with pq.ParquetFile(
                self._checked(group, columns) if summed else present(self.path),
                metadata=self.metadata,
                pre_buffer=summed,
                page_checksum_verification=check and not summed,
            ) as file:
                return file.read_row_group(group, columns=list(columns))
        except (OSError, pa.ArrowException) as error:
            raise unreadable(self.path, error, group) from error

    def tables(self, columns: Sequence[str]) -> Iterator[pa.Table]:
        """Reads columns, row group by row group."""
        for group in range(self.num_row_groups):
            yield self.read(group, columns)

    def _checked(self, group: int, columns: Sequence[str]) -> pa.PythonFile:
        """Reads the column chunks into memory and compares them; Arrow then reads from there."""
        assert self.chunks is not None
        chunks = self.chunks[group].tolist()
        places = sorted((self.schema.get_field_index(name), name) for name in columns)
        wanted = [_Chunk(name, *chunks[place]) for place, name in places if place >= 0]
        held = _Held()
        with opened(self.path) as file:
            held.size = os.fstat(file.fileno()).st_size
            for run in _runs(wanted):
                begin = run[0].start - run[0].start % 8
                held.add(begin, self._read_run(file, begin, run, group))
        return pa.PythonFile(held, mode="r")

    def _read_run(self, file: FileIO, begin: int, run: Sequence[_Chunk], group: int) -> pa.Buffer:
        """Reads the bytes from `begin` on, chunk by chunk: each is summed while it is still in the cache."""
        data = pa.allocate_buffer(run[-1].end - begin)
        room, filled = memoryview(data).cast("B"), 0
        file.seek(begin)
        for chunk in run:
            end = chunk.end - begin
            while filled < end:
                read = file.readinto(room[filled:end])
                if not read:
                    raise OSError(f"the file ends at byte {begin + filled}")
                filled += read
            found = digest(room[chunk.start - begin : end], chunk.start)
            if found != chunk.checksum:
                where = f"{self.path}, row group {group}, column {chunk.name}"
                raise _changed(where, f"{chunk.checksum:016x}", f"{found:016x}")
        return data


class _Chunk(NamedTuple):
    """A column chunk of a row group."""

    name: str
    start: int
    size: int
    checksum: int

    @property
    def end(self) -> int:
        return self.start + self.size


class _Held:
    """A file of which some ranges are in memory, read by Arrow."""

    def __init__(self) -> None:
        self.size = 0
        self.closed = False
        self._ranges: list[tuple[int, pa.Buffer]] = []
        self._position = 0

    def add(self, start: int, data: pa.Buffer) -> None:
        """Holds the bytes from `start` on."""
        self._ranges.append((start, data))

    def bytes(self, start: int, size: int) -> pa.Buffer:
        """Returns bytes that are held.

        Raises:
            OSError: They are not: the file is shorter than it was, or Arrow asks for others.
        """
        for begin, data in self._ranges:
            if begin <= start and start + size <= begin + data.size:
                return data.slice(start - begin, size)
        raise OSError(f"bytes {start} to {start + size} are not there")

    def read(self, size: int) -> pa.Buffer:
        """Returns the next bytes."""
        found = self.bytes(self._position, size)
        self._position += size
        return found

    read_buffer = read

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Moves to a position."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self.size}
        self._position = base[whence] + offset
        return self._position

    def tell(self) -> int:
        """Returns the position."""
        return self._position

    def close(self) -> None:
        """Lets go of the bytes."""
        self.closed, self._ranges = True, []


def _with_starts(checksums: FileChecksums, metadata: Any) -> UInt64:
    """Start, size and checksum of every column chunk `[G, C, 3]`: they follow one another from the magic bytes on."""
    found = checksums.table(metadata.num_row_groups, metadata.num_columns)
    sizes = found[..., :1]
    ends = sizes.cumsum().reshape(sizes.shape).astype(np.uint64)
    return np.concatenate([ends - sizes + np.uint64(len(MAGIC)), found], axis=-1)


def _runs(chunks: Sequence[_Chunk]) -> list[list[_Chunk]]:
    """Groups column chunks that lie close to one another."""
    runs: list[list[_Chunk]] = []
    for chunk in chunks:
        if runs and chunk.start - runs[-1][-1].end <= _GAP:
            runs[-1].append(chunk)
        else:
            runs.append([chunk])
    return runs


def _changed(where: str, expected: str, found: str) -> DataError:
    return DataError(
        "A Parquet file cannot be read: it has changed since it was written.",
        where=where,
        expected=f"checksum {expected}",
        found=f"checksum {found}",
        remedy=_REMEDY,
    )
