"""Gathers scattered (request, candidate) rows into requests, out of core.

Rows are spread over files by the hash of their request; then each file is sorted by (hash, request, row). Partitions
are ranges of hashes, so the order of requests is by hash however many partitions there are, and the candidates of a
request keep the order of the raw rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.ipc as ipc

from distill.data.prepare.assigners import Assigner, ByFile
from distill.data.prepare.grouping import REQUEST, ROW, GroupedSource, check_constant, check_one_split, with_keys
from distill.data.prepare.progress import PassProgress
from distill.data.prepare.records import partition_count, partition_of
from distill.data.prepare.source import RawFiles
from distill.data.prepare.uses import Use, read_columns
from distill.encodings.arrow import combine
from distill.encodings.hashing import mix64
from distill.engines import Advance, Engine
from distill.files import own_folder
from distill.schema import Schema

_BUFFERED_ROWS = 1 << 13


@dataclass(frozen=True)
class Grouping:
    """Turns raw pairs into a `GroupedSource`.

    Attributes:
        files: The raw files.
        schema: Names the request.
        uses: Of the raw columns.
        scratch: Folder for the sorted files.
        memory_bytes: What sorting one of them may take four times.
        bars: For progress.
        engine: A task of it spreads files, or sorts a partition.
    """

    files: RawFiles
    schema: Schema
    uses: Sequence[Use]
    scratch: Path
    memory_bytes: int
    bars: PassProgress
    engine: Engine

    def run(self, assigner: Assigner) -> GroupedSource:
        """Spreads the rows, then sorts every partition.

        Raises:
            DataError: A request-side column is not constant within a request.
        """
        work, files = self._work(assigner), range(len(self.files.files))
        work.folder.mkdir()
        bar = self.bars.begin("spread rows", self.files.num_rows)
        folders = list(self.engine.map(_spread, work, self.engine.portions(files), bar.advance))
        bar = self.bars.begin("group rows", self.files.num_rows)
        unsorted = [[path for path in paths if path.exists()] for paths in zip(*map(work.paths, folders), strict=True)]
        present, sorted_paths = [paths for paths in unsorted if paths], list[Path]()
        for paths, path in zip(present, self.engine.map(_sort, work, present, bar.advance), strict=True):
            sorted_paths.append(path)
            for spread in paths:
                spread.unlink()
        return GroupedSource(tuple(sorted_paths), self.files, self.uses)

    def _work(self, assigner: Assigner) -> _GroupingWork:
        count = partition_count(self.files.memory(read_columns(self.uses)), self.memory_bytes)
        return _GroupingWork(self.files, self.schema, self.uses, assigner, self.scratch / "pairs", count)


@dataclass(frozen=True)
class _GroupingWork:
    """What the tasks of a grouping share."""

    files: RawFiles
    schema: Schema
    uses: Sequence[Use]
    assigner: Assigner
    folder: Path
    count: int

    def paths(self, folder: Path) -> list[Path]:
        """Where a task puts the rows of each partition."""
        return [folder / f"{p}.arrow" for p in range(self.count)]


def _spread(work: _GroupingWork, files: Sequence[int], advance: Advance) -> Path:
    """Spreads the rows of files that follow one another; returns the folder of the partitions."""
    folder = own_folder(work.folder)
    start, stop = work.files.first_row(files[0]), work.files.first_row(files[-1] + 1)
    with ExitStack() as stack:
        spreader = _Spreader(work.paths(folder), stack)
        for batch in work.files.batches(read_columns(work.uses), (), start, stop):
            spreader.add(with_keys(batch, work.schema, work.files, work.assigner))
            advance(batch.num_rows)
        spreader.flush()
    return folder


def _sort(work: _GroupingWork, paths: Sequence[Path], advance: Advance) -> Path:
    """Sorts the rows of a partition, which are in one or more files; returns the sorted one."""
    with ExitStack() as stack:
        sources = [stack.enter_context(pa.memory_map(str(path))) for path in paths]
        table = pa.concat_tables([ipc.open_file(source).read_all() for source in sources])
        request, row = (combine(table[name]).to_numpy() for name in (REQUEST, ROW))
        order = np.lexsort((row, request, mix64(request)))
        table = table.take(pa.array(order)).combine_chunks()
    if isinstance(work.assigner, ByFile):
        check_one_split(table, work.files)
    check_constant(table, work.uses, work.schema, work.files)
    beside = own_folder(work.folder) / "sorted.arrow"
    with ipc.new_file(str(beside), table.schema) as sink:
        sink.write_table(table)
    advance(len(table))
    return beside


class _Spreader:
    """Appends rows to one Arrow file per partition, through a buffer."""

    def __init__(self, paths: list[Path], stack: ExitStack) -> None:
        self._paths, self._stack = paths, stack
        self._writers: dict[int, ipc.RecordBatchFileWriter] = {}
        self._buffers: list[list[pa.Table]] = [[] for _ in paths]
        self._rows = np.zeros(len(paths), np.int64)

    def add(self, table: pa.Table) -> None:
        """Adds rows, each to the partition of its request."""
        if len(self._paths) == 1:
            self._put(0, table)
            return
        partition = partition_of(mix64(table[REQUEST].to_numpy()), len(self._paths))
        order = np.argsort(partition, kind="stable")
        table = table.take(pa.array(order))
        ends = np.cumsum(np.bincount(partition, minlength=len(self._paths)))
        starts = np.append(0, ends[:-1])
        for p in np.flatnonzero(ends > starts):
            self._put(int(p), table.slice(starts[p], ends[p] - starts[p]))

    def flush(self) -> None:
        """Writes all buffers."""
        for p in range(len(self._paths)):
            self._write(p)

    def _put(self, p: int, table: pa.Table) -> None:
        self._buffers[p].append(table)
        self._rows[p] += len(table)
        if self._rows[p] >= _BUFFERED_ROWS:
            self._write(p)

    def _write(self, p: int) -> None:
        if not self._buffers[p]:
            return
        table = pa.concat_tables(self._buffers[p])
        if p not in self._writers:
            self._writers[p] = self._stack.enter_context(ipc.new_file(str(self._paths[p]), table.schema))
        self._writers[p].write_table(table)
        self._buffers[p], self._rows[p] = [], 0
