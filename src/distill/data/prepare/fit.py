"""Fits the encodings on the training split, in one pass."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from distill.data.format import SPLITS
from distill.data.prepare.accumulate import Extremes, Moments, Reservoir, quantile_boundaries
from distill.data.prepare.chunk import Chunk
from distill.data.prepare.membership import PairCounter, with_members
from distill.data.prepare.streams import Streams, absorb_stream, as_they_come
from distill.data.prepare.threads import threads
from distill.data.prepare.value_counter import ValueCounter
from distill.encodings.arrow import Bool
from distill.encodings.fitted import FittedEncodings
from distill.encodings.found_before import NUMBER, FoundBefore
from distill.encodings.id_values import to_id_values
from distill.encodings.lists import to_ragged
from distill.encodings.numbers import FittedNumber, number_from_moments, piecewise_number, signed_log
from distill.encodings.place import Place
from distill.encodings.tables import (
    FittedHash,
    FittedIds,
    FittedQuantiles,
    TableEncoder,
    ValueKind,
    vocabulary_from_counts,
)
from distill.encodings.tokens import FittedText, token_counts
from distill.encodings.values import to_numbers
from distill.schema import FieldSpec, Kind, Schema, Side
from distill.schema.encoding import (
    AutoDis,
    HashBuckets,
    IdentityIds,
    Log,
    PiecewiseLinear,
    QuantileBuckets,
    Vocabulary,
)


class _TrainingRows:
    """The raw values of a chunk, and which of them are of the training split."""

    def __init__(self, chunk: Chunk) -> None:
        self._chunk = chunk
        keep = chunk.split == SPLITS.index("train")
        self.is_empty = not keep.any()
        self._keep = {Side.REQUEST: keep, Side.CANDIDATE: np.repeat(keep, chunk.counts)}

    def values(self, spec: FieldSpec) -> tuple[pa.Array, Bool, Place]:
        """Returns the values of a field (those of all lists of a sequence), which are training values, their place."""
        _, array, place = self._chunk.of_field(spec)
        keep = self._keep[Side.REQUEST if spec.side is Side.REQUEST else Side.CANDIDATE]
        if spec.kind is Kind.SEQUENCE:
            array, lengths, _ = to_ragged(array, spec.max_length)
            keep, place = np.repeat(keep, lengths), place.nested(lengths)
        return array, keep, place


class Fitter:
    """Gathers what the encodings need from chunks of the training split.

    Args:
        schema: Names the fields.
        kinds: Table name to the type of its values.
        texts: Table name to how the text of its fields is cut.
        streams: How numbers are taken whose order counts.
        scratch: An empty folder for where values are found in vocabularies, if the same process encodes the chunks.
    """

    def __init__(
        self,
        schema: Schema,
        kinds: Mapping[str, ValueKind],
        texts: Mapping[str, FittedText],
        streams: Streams = as_they_come,
        scratch: Path | None = None,
    ) -> None:
        self._schema = schema
        self._kinds = kinds
        self._texts = texts
        self._tables: dict[str, list[FieldSpec]] = {}
        for spec in schema.fields:
            if spec.encoding.makes_ids:
                self._tables.setdefault(spec.table, []).append(spec)
        self._numbers = [f for f in schema.fields if f.is_number]
        counted = [table for table, fields in self._tables.items() if isinstance(fields[0].encoding, Vocabulary)]
        self._counters = {
            table: ValueCounter(FoundBefore(scratch / str(i)) if scratch is not None else None)
            for i, table in enumerate(counted)
        }
        self._reservoirs = {
            f.name: streams(Reservoir(seed=zlib.crc32(f.name.encode())))
            for f in schema.fields
            if isinstance(f.encoding, QuantileBuckets | PiecewiseLinear)
        }
        self._cold = [f for f in schema.fields if f.cold is not None]
        self._pairs = {f.table: PairCounter([kinds.get(t, "int") for t in _tables(schema, f)]) for f in self._cold}
        self._moments = {f.name: streams(Moments()) for f in self._numbers}
        self._extremes = {f.name: Extremes() for f in schema.fields if f.is_number or f.name in self._reservoirs}

    def add(self, chunk: Chunk, pool: ThreadPoolExecutor) -> None:
        """Adds the training rows of a chunk, one job per table and number."""
        train = _TrainingRows(chunk)
        if train.is_empty:
            return
        jobs: list[Callable[[], None]] = [self._table_job(train, table) for table in self._counters]
        jobs += [self._pairs_job(train, table) for table in self._pairs]
        jobs += [self._number_job(train, spec) for spec in self._schema.fields if spec.name in self._extremes]
        for done in [pool.submit(job) for job in jobs]:
            done.result()

    def absorb(self, other: Fitter) -> None:
        """Adds what another one gathered from later chunks of the same data."""
        for table, counter in self._counters.items():
            counter.absorb(other._counters[table])
        for table, pairs in self._pairs.items():
            pairs.absorb(other._pairs[table])
        for name, extremes in self._extremes.items():
            extremes.absorb(other._extremes[name])
        for name, reservoir in self._reservoirs.items():
            absorb_stream(reservoir, other._reservoirs[name])
        for name, moments in self._moments.items():
            absorb_stream(moments, other._moments[name])

    def __getstate__(self) -> dict[str, Any]:
        """Sends what was gathered to who absorbs it, and knows how text is cut."""
        return {**self.__dict__, "_texts": {}}

    def finish(self) -> tuple[FittedEncodings, dict[str, tuple[float, float]]]:
        """Returns the fitted encodings, and `[min, max]` of every number field before encoding."""
        with threads() as pool:
            finished = pool.map(lambda entry: self._finish_table(entry[0], entry[1][0]), self._tables.items())
            tables = dict(zip(self._tables, finished, strict=True))
        numbers = {spec.name: self._finish_number(spec) for spec in self._numbers}
        ranges = {n: (e.low, e.high) for n, e in self._extremes.items() if e.low <= e.high}
        fitted = FittedEncodings(tables, numbers, self._texts)
        grouped = {spec.table: self._with_groups(fitted, spec) for spec in self._cold}
        return FittedEncodings({**tables, **grouped}, numbers, self._texts), ranges

    def _table_job(self, train: _TrainingRows, table: str) -> Callable[[], None]:
        def run() -> None:
            for spec in self._tables[table]:
                array, keep, place = train.values(spec)
                if table in self._texts:
                    self._add_text(spec, array, keep, place)
                else:
                    self._counters[table].add(to_id_values(array, place, spec.nan), keep)

        return run

    def _add_text(self, spec: FieldSpec, array: pa.Array, keep: Bool, place: Place) -> None:
        rows = np.flatnonzero(keep)
        of_train = array if len(rows) == len(array) else array.take(pa.array(rows))
        for tokens, counts in token_counts(self._texts[spec.table], of_train, spec.max_length, place.rows(rows)):
            self._counters[spec.table].add_counted(tokens, counts)

    def _pairs_job(self, train: _TrainingRows, table: str) -> Callable[[], None]:
        def run() -> None:
            for spec in (f for f in self._cold if f.table == table):
                columns = []
                for own in (spec, *self._schema.groups_of(spec)):
                    array, keep, place = train.values(own)
                    columns.append(to_id_values(array, place, own.nan))
                self._pairs[table].add(columns, keep)

        return run

    def _with_groups(self, fitted: FittedEncodings, spec: FieldSpec) -> TableEncoder:
        assert spec.cold is not None
        _, *by = _tables(self._schema, spec)
        return with_members(fitted, spec.table, by, spec.cold.min_ids, self._pairs[spec.table].result())

    def _number_job(self, train: _TrainingRows, spec: FieldSpec) -> Callable[[], None]:
        def run() -> None:
            self._add_numbers(spec, *train.values(spec))

        return run

    def _add_numbers(self, spec: FieldSpec, array: pa.Array, keep: Bool, place: Place) -> None:
        values, missing = to_numbers(array, place, spec.nan)
        values = values.take(np.flatnonzero(keep & ~missing))
        self._extremes[spec.name].add(values)
        if spec.name in self._reservoirs:
            self._reservoirs[spec.name].add(values)
        else:
            log = isinstance(spec.encoding, Log) or (isinstance(spec.encoding, AutoDis) and spec.encoding.log)
            self._moments[spec.name].add(signed_log(values) if log else values)

    def _finish_table(self, table: str, spec: FieldSpec) -> TableEncoder:
        encoding = spec.encoding
        if isinstance(encoding, HashBuckets):
            return FittedHash(encoding.buckets, self._kinds.get(table, "int"))
        if isinstance(encoding, IdentityIds):
            return FittedIds(encoding.size)
        if isinstance(encoding, QuantileBuckets):
            samples = [self._reservoirs[f.name].result() for f in self._tables[table]]
            return FittedQuantiles(encoding.buckets, quantile_boundaries(samples, encoding.buckets))
        assert isinstance(encoding, Vocabulary)
        counted = self._counters[table].result()
        if len(counted) == 0:
            value_type = pa.string() if self._kinds.get(table, "int") == "string" else pa.int64()
            nothing = pa.array([], pa.int64())
            counted = pa.table({"value": pa.array([], value_type), "count": nothing, NUMBER: nothing})
        return vocabulary_from_counts(counted, encoding.min_count, encoding.max_size, self._counters[table].found)

    def _finish_number(self, spec: FieldSpec) -> FittedNumber:
        extremes = self._extremes[spec.name]
        if isinstance(spec.encoding, PiecewiseLinear):
            inner = quantile_boundaries([self._reservoirs[spec.name].result()], spec.encoding.bins)
            return piecewise_number(spec.encoding.bins, inner, extremes.low, extremes.high)
        mean, deviation = self._moments[spec.name].result()
        if extremes.low == extremes.high:
            deviation = 0.0  # exactly: rounding must not become the scale of a constant column
        return number_from_moments(spec.encoding, mean, deviation)


def _tables(schema: Schema, spec: FieldSpec) -> list[str]:
    """The table of a field, and those of the fields of its groups."""
    return [spec.table, *(other.table for other in schema.groups_of(spec))]
