"""Requests whose (request, candidate) rows follow one another, with a key, a split and a number for each row."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.ipc as ipc

from distill.data.prepare.assigners import Assigner, request_in_two_splits
from distill.data.prepare.chunk import Chunk
from distill.data.prepare.keys import row_keys
from distill.data.prepare.source import RawBatch, RawFiles
from distill.data.prepare.uses import Use, read_columns
from distill.encodings.arrow import Int64, combine, differs
from distill.encodings.values import first
from distill.errors import DataError
from distill.schema import Schema

ROW, REQUEST, _USER, _SPLIT = "\0row", "\0request", "\0user", "\0split"
_CHUNK_ROWS = 1 << 17


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

    @property
    def num_parts(self) -> int:
        """Sorted files."""
        return len(self.paths)

    def chunks(self) -> Iterator[Chunk]:
        """Streams the chunks."""
        for number in range(self.num_parts):
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
    starts = request_starts(combine(table[REQUEST]).to_numpy())
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
    heads = {name: columns[name].take(first_rows) for name in (*wanted, REQUEST, _USER, _SPLIT, ROW)}
    return Chunk(
        request={name: heads[name] for name in wanted},
        candidate={name: columns[name] for name in used},
        counts=counts,
        split=heads[_SPLIT].to_numpy(),
        request_key=heads[REQUEST].to_numpy(),
        user_key=heads[_USER].to_numpy(),
        request_row=heads[ROW].to_numpy(),
        candidate_row=columns[ROW].to_numpy(),
        nested=False,
        locate=files.locate,
    )


def with_keys(batch: RawBatch, schema: Schema, files: RawFiles, assigner: Assigner) -> pa.Table:
    """Returns the columns of a batch with the keys, the split and the number of each row."""
    keys = row_keys(batch, schema, files)
    rows = np.arange(batch.start, batch.start + batch.num_rows)
    made = {ROW: rows, REQUEST: keys.request, _USER: keys.user, _SPLIT: assigner.assign(batch, keys)}
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
    starts = request_starts(combine(table[REQUEST]).to_numpy())
    lengths = np.diff(np.append(starts, len(table)))
    heads = pa.array(np.repeat(starts, lengths))
    rows = combine(table[ROW]).to_numpy()
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
            "A column of the request has several values within one request.",
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
    request, split, rows = (combine(table[name]).to_numpy() for name in (REQUEST, _SPLIT, ROW))
    if (position := first((request[1:] == request[:-1]) & (split[1:] != split[:-1]))) >= 0:
        raise request_in_two_splits(files, int(rows[position]), int(rows[position + 1]))


def request_starts(request: Int64) -> Int64:
    """Returns where each run of equal keys starts."""
    is_first = np.ones(len(request), np.bool_)
    is_first[1:] = request[1:] != request[:-1]
    return np.flatnonzero(is_first)
