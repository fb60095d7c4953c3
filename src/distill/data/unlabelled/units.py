"""Raw files in units of whole requests: each is read for itself, so that work can be divided and taken up again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby, pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa

from distill.data.prepare.assigners import AllTo
from distill.data.prepare.chunk import Chunk
from distill.data.prepare.gather import Grouping
from distill.data.prepare.grouping import (
    GroupedSource,
    check_constant,
    chunks_of_table,
    request_starts,
    with_keys,
)
from distill.data.prepare.keys import request_keys, row_keys
from distill.data.prepare.progress import PassProgress
from distill.data.prepare.source import RawBatch, RawFiles
from distill.data.prepare.stream import explode_candidates
from distill.data.prepare.uses import RawShape, Use, id_columns, read_columns
from distill.encodings.arrow import Int64
from distill.engines import Engine, LocalEngine
from distill.schema import Schema

_ALL = AllTo(2)
UNIT_ROWS = 1 << 20
_UNIT_REQUESTS = 1 << 14  # of raw requests, a row of which holds many candidates


@dataclass
class RawUnits:
    """The units of raw files.

    Attributes:
        files: The files.
        schema: Of the model.
        uses: Of their columns.
        shape: Of their rows.
        edges: `[U + 1]` raw rows between which a unit lies; None of pairs whose rows had to be gathered.
        grouped: Those.
    """

    files: RawFiles
    schema: Schema
    uses: Sequence[Use]
    shape: RawShape
    edges: Int64 | None = None
    grouped: GroupedSource | None = None
    _dictionaries: list[str] = field(default_factory=list)

    @classmethod
    def plan(
        cls,
        files: RawFiles,
        schema: Schema,
        uses: Sequence[Use],
        shape: RawShape,
        scratch: Path,
        memory_bytes: int,
        bars: PassProgress,
        unit_rows: int | None = None,
        engine: Engine | None = None,
    ) -> RawUnits:
        """Divides the rows; pairs that do not lie request by request are gathered first, in temporary files.

        Args:
            files: The files.
            schema: Of the model.
            uses: Of their columns.
            shape: Of their rows.
            scratch: An empty folder for temporary files.
            memory_bytes: What gathering may hold in memory.
            bars: For progress.
            unit_rows: About how many raw rows a unit has.
            engine: Where pairs are gathered; in this process if not given.

        Raises:
            DataError: A request id is null, or what describes a request is not constant in it.
        """
        units = cls(files, schema, uses, shape)
        if shape == "pairs":
            starts = _request_rows(files, schema, bars)
            if starts is None:
                grouping = Grouping(files, schema, uses, scratch, memory_bytes, bars, engine or LocalEngine())
                units.grouped = grouping.run(_ALL)
                return units
        else:
            starts = np.arange(files.num_rows)
            units._dictionaries = id_columns(uses)
        size = unit_rows or (_UNIT_REQUESTS if shape == "requests" else UNIT_ROWS)
        wanted = np.arange(0, files.num_rows, size)
        chosen = starts[np.minimum(np.searchsorted(starts, wanted), len(starts) - 1)]
        units.edges = np.unique(np.append(chosen, [0, files.num_rows]))
        return units

    def __len__(self) -> int:
        return len(self.grouped.paths) if self.grouped is not None else len(self._edges) - 1

    @property
    def _edges(self) -> Int64:
        assert self.edges is not None
        return self.edges

    def stream(self, numbers: Sequence[int]) -> Iterator[tuple[int, Chunk]]:
        """Streams the requests of units, in the order of the files, or by the hash of their key if they were gathered.

        Units that follow one another are read in one go: to start within a file means to read what lies before.

        Args:
            numbers: Which, in ascending order.

        Returns:
            Number of a unit and some whole requests of it.

        Raises:
            DataError: A file cannot be read, or does not hold what the schema says.
        """
        if self.grouped is not None:
            for number in numbers:
                yield from ((number, chunk) for chunk in self.grouped.chunks_of(number))
            return
        for first, last in _runs(numbers):
            for number, batches in groupby(self._batches(first, last), key=lambda found: found[0]):
                own = (batch for _, batch in batches)
                chunks = self._pairs(own, number) if self.shape == "pairs" else map(self._straight, own)
                yield from ((number, chunk) for chunk in chunks)

    def _batches(self, first: int, last: int) -> Iterator[tuple[int, RawBatch]]:
        """Reads units that follow one another, in batches that are cut where a unit ends."""
        start, stop = int(self._edges[first]), int(self._edges[last + 1])
        for batch in self.files.batches(read_columns(self.uses), self._dictionaries, start, stop):
            end = batch.start + batch.num_rows
            inner = self._edges[(self._edges > batch.start) & (self._edges < end)].tolist()
            for low, high in pairwise([batch.start, *inner, end]):
                yield int(np.searchsorted(self._edges, low, side="right")) - 1, _cut(batch, low, high)

    def _straight(self, batch: RawBatch) -> Chunk:
        nested = self.shape == "requests"
        keys = row_keys(batch, self.schema, self.files)
        rows = np.arange(batch.start, batch.start + batch.num_rows)
        candidate, counts = batch.columns, np.ones(batch.num_rows, np.int64)
        if nested:
            candidate, counts = explode_candidates(batch, self.uses, self.files.locate)
        return Chunk(
            request=batch.columns,
            candidate=candidate,
            counts=counts,
            split=np.full(batch.num_rows, _ALL.code, np.int8),
            request_key=keys.request,
            user_key=keys.user,
            request_row=rows,
            candidate_row=np.repeat(rows, counts),
            nested=nested,
            locate=self.files.locate,
        )

    def _pairs(self, batches: Iterator[RawBatch], number: int) -> Iterator[Chunk]:
        rest: pa.Table | None = None
        for batch in batches:
            table = with_keys(batch, self.schema, self.files, _ALL)
            if rest is not None:
                table = pa.concat_tables([rest, table], promote_options="permissive")
            whole = len(table)
            if batch.start + batch.num_rows < self._edges[number + 1]:  # the last request may go on
                whole = int(request_starts(_requests(table))[-1])
            rest = table.slice(whole)
            yield from self._whole(table.slice(0, whole))
        if rest is not None:
            yield from self._whole(rest)

    def _whole(self, table: pa.Table) -> Iterator[Chunk]:
        if len(table):
            check_constant(table, self.uses, self.schema, self.files)
            yield from chunks_of_table(table, self.uses, self.files)


def _runs(numbers: Sequence[int]) -> list[tuple[int, int]]:
    """Returns the first and the last of every run of numbers that follow one another."""
    found: list[tuple[int, int]] = []
    for number in numbers:
        if found and number == found[-1][1] + 1:
            found[-1] = (found[-1][0], number)
        else:
            found.append((number, number))
    return found


def _cut(batch: RawBatch, start: int, stop: int) -> RawBatch:
    """Returns the rows of a batch between two numbers of rows."""
    low, size = start - batch.start, stop - start
    columns = {name: column.slice(low, size) for name, column in batch.columns.items()}
    return RawBatch(columns, start, size)


def _requests(table: pa.Table) -> Int64:
    keys: Int64 = table["\0request"].combine_chunks().to_numpy()
    return keys


def _request_rows(files: RawFiles, schema: Schema, bars: PassProgress) -> Int64 | None:
    """Finds the rows where requests start; None if the rows of some request do not follow one another."""
    column = schema.keys.request
    assert column is not None
    bar = bars.begin("find requests", files.num_rows)
    starts, keys, last = [], [], None
    for batch in files.batches([column]):
        found = request_keys(batch, schema, files)
        first = request_starts(found)
        if last is not None and len(found) and found[0] == last:
            first = first[1:]
        starts.append(first + batch.start)
        keys.append(found[first])
        last = found[-1] if len(found) else last
        bar.advance(batch.num_rows)
    joined = np.concatenate(keys)
    return np.concatenate(starts) if len(np.unique(joined)) == len(joined) else None
