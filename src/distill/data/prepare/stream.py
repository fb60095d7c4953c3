"""Chunks of whole requests from raw files that hold them so: flat rows and raw requests, in the order of the files."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import pyarrow as pa

from distill.data.prepare.assigners import Assigner
from distill.data.prepare.chunk import Chunk
from distill.data.prepare.keys import row_keys
from distill.data.prepare.source import RawBatch, RawFiles
from distill.data.prepare.uses import Use, id_columns, read_columns
from distill.encodings.arrow import Int64, explode
from distill.encodings.values import first
from distill.errors import DataError
from distill.schema import Schema


class ChunkSource(Protocol):
    """All requests of the raw data, chunk by chunk, in the same order every time."""

    @property
    def num_parts(self) -> int:
        """Parts that can be read apart: together they are all chunks."""
        ...

    def chunks(self) -> Iterator[Chunk]:
        """Streams the chunks."""
        ...

    def chunks_of(self, number: int) -> Iterator[Chunk]:
        """Streams the chunks of one part."""
        ...


@dataclass(frozen=True)
class StraightSource:
    """Flat rows, or raw requests; a part is a file."""

    files: RawFiles
    schema: Schema
    uses: Sequence[Use]
    assigner: Assigner
    nested: bool

    @property
    def num_parts(self) -> int:
        """Files."""
        return len(self.files.files)

    def chunks(self) -> Iterator[Chunk]:
        """Streams the chunks.

        Raises:
            DataError: Lists of one row differ in length, or a key is not usable.
        """
        return self._chunks(0, self.files.num_rows)

    def chunks_of(self, number: int) -> Iterator[Chunk]:
        """Streams the chunks of one file."""
        return self._chunks(self.files.first_row(number), self.files.first_row(number + 1))

    def _chunks(self, start: int, stop: int) -> Iterator[Chunk]:
        for batch in self.files.batches(read_columns(self.uses), id_columns(self.uses), start, stop):
            keys = row_keys(batch, self.schema, self.files)
            rows = np.arange(batch.start, batch.start + batch.num_rows)
            candidate: Mapping[str, pa.Array] = batch.columns
            counts = np.ones(batch.num_rows, np.int64)
            if self.nested:
                candidate, counts = explode_candidates(batch, self.uses, self.files.locate)
            yield Chunk(
                request=batch.columns,
                candidate=candidate,
                counts=counts,
                split=self.assigner.assign(batch, keys),
                request_key=keys.request,
                user_key=keys.user,
                request_row=rows,
                candidate_row=np.repeat(rows, counts),
                nested=self.nested,
                locate=self.files.locate,
            )


def explode_candidates(
    batch: RawBatch, uses: Sequence[Use], locate: Callable[[int], str]
) -> tuple[dict[str, pa.Array], Int64]:
    """Flattens the candidate columns of raw requests.

    Returns:
        Raw column to its values `[N]`, and the number of candidates of each row `[R]`.

    Raises:
        DataError: Lists of one row differ in length.
    """
    values: dict[str, pa.Array] = {}
    counts: Int64 | None = None
    reference = ""
    for use in uses:
        if not use.per_candidate or use.column in values:
            continue
        array = batch.columns[use.column]
        if pa.types.is_null(array.type):
            array = array.cast(pa.list_(pa.null()))
        values[use.column], lengths = explode(array)
        if counts is None:
            counts, reference = lengths, use.column
        if (row := first(lengths != counts)) >= 0:
            raise DataError(
                "Candidate columns of one request differ in length.",
                where=f"{locate(batch.start + row)}, column {use.column!r} ({use.purpose})",
                expected=f"{counts[row]} values, as in column {reference!r}",
                found=f"{lengths[row]} values",
                remedy="Every candidate column holds one value per candidate; write null for unknown ones.",
            )
    assert counts is not None
    return values, counts
