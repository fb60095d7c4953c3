"""Passes over the key columns of raw rows: records of rows are spread by a key, and those of one partition looked at.

Files are read by tasks of an engine, and so are partitions. Each partition's records come in the order of the rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from distill.data.prepare.keys import RowKeys, key_columns, row_keys
from distill.data.prepare.progress import PassProgress
from distill.data.prepare.records import RecordPartitions, partition_count, read_records
from distill.data.prepare.source import RawBatch, RawFiles
from distill.encodings.arrow import Int64
from distill.engines import Advance, Engine
from distill.files import own_folder
from distill.schema import Schema

_Result = TypeVar("_Result")


class Numbers(Protocol):
    """Makes numbers of the rows of a batch; can be sent to another process."""

    def __call__(self, batch: RawBatch, keys: RowKeys, files: RawFiles) -> tuple[Int64, ...]:
        """Returns columns `[n]` each; before those of a record comes the key that it is spread by."""
        ...


@dataclass(frozen=True)
class KeyRows:
    """Rows of raw files with their keys.

    Attributes:
        files: All files.
        schema: Names the keys.
        stop: The row behind the last one that is looked at.
        columns: That are read beside the keys.
    """

    files: RawFiles
    schema: Schema
    stop: int
    columns: tuple[str, ...]

    def batches(self, numbers: Sequence[int]) -> Iterator[tuple[RawBatch, RowKeys]]:
        """Streams files that follow one another."""
        start, stop = self.files.first_row(numbers[0]), min(self.stop, self.files.first_row(numbers[-1] + 1))
        for batch in self.files.batches(sorted({*self.columns, *key_columns(self.schema)}), (), start, stop):
            yield batch, row_keys(batch, self.schema, self.files)

    @property
    def numbers(self) -> range:
        """Files that have such rows."""
        return range(sum(self.files.first_row(number) < self.stop for number in range(len(self.files.files))))


@dataclass(frozen=True)
class Exchange:
    """Makes such passes.

    Attributes:
        scratch: Folder for records.
        memory_bytes: Of which the records of a partition take a quarter at most.
        bars: For progress.
        engine: That reads.
    """

    scratch: Path
    memory_bytes: int
    bars: PassProgress
    engine: Engine

    def columns(self, rows: KeyRows, numbers: Numbers, name: str) -> Iterator[Path]:
        """Yields files with a column of numbers of all rows, in their order; `name` is that of the bar."""
        bar = self.bars.begin(name, rows.stop)
        work = _Reading(rows, numbers, own_folder(self.scratch), 1)
        return self.engine.map(_write_numbers, work, self.engine.portions(rows.numbers), bar.advance)

    def partitions(
        self, rows: KeyRows, numbers: Numbers, width: int, look: Callable[[RawFiles, Int64], _Result], name: str
    ) -> Iterator[_Result]:
        """Yields what is made of the records of each partition, in the order of their hashes.

        Args:
            rows: Whose records.
            numbers: Makes the key and the records.
            width: Numbers in a record.
            look: Gets the raw files and the records `[m, width]`; can be sent to another process.
            name: Of the bar.
        """
        bar = self.bars.begin(name, rows.stop)
        count = partition_count(rows.files.num_rows * width * 8 * 4, self.memory_bytes)
        work = _Reading(rows, numbers, own_folder(self.scratch), count)
        folders = list(self.engine.map(_spread_records, work, self.engine.portions(rows.numbers), bar.advance))
        looking = _Looking(look, rows.files, folders, width)
        for partition, found in enumerate(self.engine.map(_look, looking, range(count), lambda _: None)):
            for folder in folders:
                (folder / str(partition)).unlink(missing_ok=True)
            yield found


@dataclass(frozen=True)
class _Reading:
    """What the tasks share that read files."""

    rows: KeyRows
    make: Numbers
    folder: Path
    count: int


def _write_numbers(work: _Reading, numbers: Sequence[int], advance: Advance) -> Path:
    path = own_folder(work.folder) / "numbers"
    with path.open("wb") as stream:
        for batch, keys in work.rows.batches(numbers):
            (column,) = work.make(batch, keys, work.rows.files)
            column.tofile(stream)
            advance(batch.num_rows)
    return path


def _spread_records(work: _Reading, numbers: Sequence[int], advance: Advance) -> Path:
    folder = own_folder(work.folder) / "records"
    partitions = RecordPartitions(folder, work.count)
    for batch, keys in work.rows.batches(numbers):
        key, *record = work.make(batch, keys, work.rows.files)
        partitions.add(key, tuple(record))
        advance(batch.num_rows)
    return folder


@dataclass(frozen=True)
class _Looking(Generic[_Result]):
    """What the tasks share that look at partitions."""

    look: Callable[[RawFiles, Int64], _Result]
    files: RawFiles
    folders: Sequence[Path]
    width: int


def _look(work: _Looking[_Result], partition: int, advance: Advance) -> _Result:
    return work.look(work.files, read_records(work.folders, partition, work.width))
