"""Gathers scattered (request, candidate) rows into requests, out of core.

Rows are spread over files by the hash of their request; then each file is sorted by (hash, request, row). Partitions
are ranges of hashes, so the order of requests is by hash however many partitions there are, and the candidates of a
request keep the order of the raw rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.ipc as ipc

from distill.data.prepare.assigners import Assigner, ByFile, request_in_two_splits
from distill.data.prepare.chunk import Chunk
from distill.data.prepare.keys import row_keys
from distill.data.prepare.progress import PassProgress
from distill.data.prepare.records import partition_count, partition_of
from distill.data.prepare.source import RawBatch, RawFiles
from distill.data.prepare.uses import Use, read_columns
from distill.encodings.arrow import Int64, combine, differs
from distill.encodings.hashing import mix64
from distill.encodings.values import first
from distill.errors import DataError
from distill.schema import Schema

_ROW, _REQUEST, _USER, _SPLIT = "\0row", "\0request", "\0user", "\0split"
_CHUNK_ROWS = 1 << 17
_BUFFERED_ROWS = 1 << 13


@dataclass(frozen=True)
class GroupedSource:
    """Requests gathered in sorted files.

    Attributes:
        paths: Arrow files, each sorted and holding whole requests.
        files: The raw files, to name places in errors.
        uses: Uses of the raw columns.
    """

    paths: tuple[Path, ...]
    files: RawFiles
    uses: Sequence[Use]

    def chunks(self) -> Iterator[Chunk]:
        """Streams the chunks."""
        for number in range(len(self.paths)):
            yield from self.chunks_of(number)

    def chunks_of(self, number: int) -> Iterator[Chunk]:
        """Streams the chunks of one of the files."""
        with pa.memory_map(str(self.paths[number])) as source:
            yield from chunks_of_table(ipc.open_file(source).read_all(), self.uses, self.files)


def chunks_of_table(table: pa.Table, uses: Sequence[Use], files: RawFiles) -> Iterator[Chunk]:
    """Cuts rows into chunks of whole requests.

    Args:
        table: What `with_keys` made, of whole requests whose rows follow one another.
        uses: Uses of the raw columns.
        files: The raw files, to name places in errors.
    """
    starts = request_starts(combine(table[_REQUEST]).to_numpy())
    edges = np.append(starts, len(table))
    begin = 0
    while begin < len(starts):
        end = int(np.searchsorted(edges, edges[begin] + _CHUNK_ROWS))
        end = min(max(end, begin + 1), len(starts))
        rows = table.slice(edges[begin], edges[end] - edges[begin])
        yield _chunk(rows, np.diff(edges[begin : end + 1]), uses, files)
        begin = end


def _chunk(table: pa.Table, counts: Int64, uses: Sequence[Use], files: RawFiles) -> Chunk:
    first_rows = pa.array(np.cumsum(counts) - counts)
    columns = {name: combine(table[name]) for name in table.column_names}
    used = read_columns(uses)
    wanted = {use.column for use in uses if not use.per_candidate}
    heads = {name: columns[name].take(first_rows) for name in (*wanted, _REQUEST, _USER, _SPLIT, _ROW)}
    return Chunk(
        request={name: heads[name] for name in wanted},
        candidate={name: columns[name] for name in used},
        counts=counts,
        split=heads[_SPLIT].to_numpy(),
        request_key=heads[_REQUEST].to_numpy(),
        user_key=heads[_USER].to_numpy(),
        request_row=heads[_ROW].to_numpy(),
        candidate_row=columns[_ROW].to_numpy(),
        nested=False,
        locate=files.locate,
    )


def with_keys(batch: RawBatch, schema: Schema, files: RawFiles, assigner: Assigner) -> pa.Table:
    """Returns the columns of a batch with the keys, the split and the number of each row."""
    keys = row_keys(batch, schema, files)
    rows = np.arange(batch.start, batch.start + batch.num_rows)
    made = {_ROW: rows, _REQUEST: keys.request, _USER: keys.user, _SPLIT: assigner.assign(batch, keys)}
    return pa.table({**batch.columns, **{name: pa.array(values) for name, values in made.items()}})


def check_constant(table: pa.Table, uses: Sequence[Use], schema: Schema, files: RawFiles) -> None:
    """Refuses a request-side column that is not constant within a request.

    Args:
        table: What `with_keys` made, of whole requests whose rows follow one another.
        uses: Uses of the raw columns.
        schema: Names the request.
        files: The raw files, to name places.

    Raises:
        DataError: There is one.
    """
    starts = request_starts(combine(table[_REQUEST]).to_numpy())
    lengths = np.diff(np.append(starts, len(table)))
    heads = pa.array(np.repeat(starts, lengths))
    rows = combine(table[_ROW]).to_numpy()
    for use in uses:
        if use.per_candidate or not use.constant:
            continue
        column = combine(table[use.column])
        if (position := first(differs(column, column.take(heads)))) < 0:
            continue
        head = heads[position].as_py()
        assert schema.keys.request is not None
        request = repr(table[schema.keys.request][position].as_py())
        raise DataError(
            "A column that describes the request is not constant within a request.",
            where=f"{files.locate(int(rows[position]))}, column {use.column!r} ({use.purpose}), request {request}",
            expected=f"{column[head].as_py()!r}, as in {files.locate(int(rows[head]))}",
            found=repr(column[position].as_py()),
            remedy="Correct the rows, or declare the field with side `cross` or `candidate`.",
        )


def check_one_split(table: pa.Table, files: RawFiles) -> None:
    """Refuses a request with rows in several splits.

    Args:
        table: What `with_keys` made, of whole requests whose rows follow one another.
        files: The raw files, to name places.

    Raises:
        DataError: There is one.
    """
    request, split, rows = (combine(table[name]).to_numpy() for name in (_REQUEST, _SPLIT, _ROW))
    if (position := first((request[1:] == request[:-1]) & (split[1:] != split[:-1]))) >= 0:
        raise request_in_two_splits(files, int(rows[position]), int(rows[position + 1]))


@dataclass(frozen=True)
class Grouping:
    """Turns raw pairs into a `GroupedSource`."""

    files: RawFiles
    schema: Schema
    uses: Sequence[Use]
    scratch: Path
    memory_bytes: int
    bars: PassProgress

    def run(self, assigner: Assigner) -> GroupedSource:
        """Spreads the rows, then sorts every partition.

        Raises:
            DataError: A request-side column is not constant within a request.
        """
        columns = read_columns(self.uses)
        count = partition_count(self.files.memory(columns), self.memory_bytes)
        folder = self.scratch / "pairs"
        folder.mkdir()
        paths = [folder / f"{p}.arrow" for p in range(count)]
        self._spread(columns, assigner, paths)
        bar = self.bars.begin("group rows", self.files.num_rows)
        present = tuple(path for path in paths if path.exists())
        for path in present:
            bar.advance(self._sort(path, isinstance(assigner, ByFile)))
        return GroupedSource(present, self.files, self.uses)

    def _spread(self, columns: list[str], assigner: Assigner, paths: list[Path]) -> None:
        bar = self.bars.begin("spread rows", self.files.num_rows)
        with ExitStack() as stack:
            spreader = _Spreader(paths, stack)
            for batch in self.files.batches(columns):
                spreader.add(with_keys(batch, self.schema, self.files, assigner))
                bar.advance(batch.num_rows)
            spreader.flush()

    def _sort(self, path: Path, by_file: bool) -> int:
        with pa.memory_map(str(path)) as source:
            table = ipc.open_file(source).read_all()
            request, row = (combine(table[name]).to_numpy() for name in (_REQUEST, _ROW))
            order = np.lexsort((row, request, mix64(request)))
            table = table.take(pa.array(order)).combine_chunks()
        if by_file:
            check_one_split(table, self.files)
        check_constant(table, self.uses, self.schema, self.files)
        beside = path.with_suffix(".sorted")
        with ipc.new_file(str(beside), table.schema) as sink:
            sink.write_table(table)
        beside.replace(path)
        return len(table)


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
        partition = partition_of(mix64(table[_REQUEST].to_numpy()), len(self._paths))
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


def request_starts(request: Int64) -> Int64:
    """Returns where each run of equal keys starts."""
    is_first = np.ones(len(request), np.bool_)
    is_first[1:] = request[1:] != request[:-1]
    return np.flatnonzero(is_first)
