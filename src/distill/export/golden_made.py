"""Raw values for the columns of golden requests that made fields read and no other field does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any

import numpy as np
import pyarrow as pa

from distill.encodings import FittedEncodings
from distill.encodings.arrow import explode, is_list
from distill.encodings.made import split_combined
from distill.encodings.tables import FittedVocabulary
from distill.schema import Difference, FieldSpec, Side, Source

Columns = dict[str, pa.Array]

_LONGEST, _FEW, _RARE = 8, 6, 0.1
_DAYS = 30.0
_TICKS = {"seconds": 1, "milliseconds": 10**3, "microseconds": 10**6, "nanoseconds": 10**9}
_NOON = datetime(2024, 1, 1, 12, tzinfo=timezone.utc)


@dataclass(frozen=True)
class MadeColumns:
    """Draws columns.

    Attributes:
        fitted: The encodings.
        request: Raw column to the values of R requests, of those that fields read; it is added to.
        candidate: The same of N candidates.
        rows: R and N.
        rng: Of the draws.
    """

    fitted: FittedEncodings
    request: Columns
    candidate: Columns
    rows: tuple[int, int]
    rng: np.random.Generator

    def add(self, fields: Sequence[FieldSpec], declared: Mapping[str, str]) -> None:
        """Adds the columns that are not there yet.

        Args:
            fields: Some of them made.
            declared: Raw column to the type that the schema declares.
        """
        for spec in (f for f in fields if f.made is not None):
            assert spec.made is not None
            for place, source in enumerate(spec.made.of):
                columns, rows = self._side(source)
                if source.column not in columns:
                    columns[source.column] = self._column(spec, place, rows, declared)

    def _side(self, source: Source) -> tuple[Columns, int]:
        is_request = source.side is Side.REQUEST
        return (self.request, self.rows[0]) if is_request else (self.candidate, self.rows[1])

    def _column(self, spec: FieldSpec, place: int, rows: int, declared: Mapping[str, str]) -> pa.Array:
        assert spec.made is not None
        source = spec.made.of[place]
        pool = self._pool(spec, place, declared.get(source.column))
        if not source.list:
            return pool.take(self._drawn(rows, len(pool)))
        lengths = self.rng.integers(0, _LONGEST + 1, rows)
        lengths[:1] = 0
        values = iter(pool.take(self._drawn(int(lengths.sum()), len(pool))).to_pylist())
        lists: list[Any] = [[next(values) for _ in range(length)] for length in lengths]
        null = self.rng.random(rows) < _RARE
        return pa.array([None if gone else row for gone, row in zip(null, lists, strict=True)], pa.list_(pool.type))

    def _drawn(self, count: int, size: int) -> pa.Array:
        return pa.array(self.rng.integers(0, size, count), mask=self.rng.random(count) < _RARE)

    def _pool(self, spec: FieldSpec, place: int, declared: str | None) -> pa.Array:
        """Values that a column may have; nulls are put among them later."""
        made = spec.made
        assert made is not None
        if made.role == "id":
            return _typed(self._ids(spec, place), declared)
        if isinstance(made, Difference) and made.unit is not None:
            return self._times(made, declared)
        numbers = np.append(np.round(self.rng.normal(0, 10, 30), 2), [0.0, 1.0])
        return _typed(pa.array(numbers), declared)

    def _ids(self, spec: FieldSpec, place: int) -> pa.Array:
        """Values of a column that it is compared with, or parts of combined ids that are known; else a few new ones."""
        assert spec.made is not None
        table = self.fitted.tables.get(spec.table) if spec.encoding.makes_ids else None
        if spec.made.type == "combine":
            known = table.values.slice(0, 100).to_pylist() if isinstance(table, FittedVocabulary) else []
            parts = [parts[place] for parts in map(split_combined, known) if len(parts) == len(spec.made.of)]
            return pa.array([*dict.fromkeys(parts), "part 0"])
        other = spec.made.of[1 - place]
        drawn = self._side(other)[0].get(other.column)
        if drawn is not None:
            values = explode(drawn)[0] if is_list(drawn.type) else drawn
            if len(values := values.drop_null().unique().slice(0, 100)):
                return values
        return pa.array([f"value {number}" for number in range(_FEW)])

    def _times(self, made: Difference, declared: str | None) -> pa.Array:
        days = self.rng.uniform(-_DAYS, _DAYS, 30)
        moments = [_NOON + timedelta(seconds=round(day * 86400)) for day in days]
        if made.epoch is not None and declared not in ("text", "time"):
            ticks = [int(moment.timestamp()) * _TICKS[made.epoch] for moment in moments]
            return _typed(pa.array(ticks), declared)
        return pa.array([moment.isoformat() for moment in moments])


def _typed(values: pa.Array, declared: str | None) -> pa.Array:
    """Values of the type that a column is declared to have, where they can be."""
    if declared == "text":
        return values.cast(pa.string())
    if declared == "boolean":
        return pa.array([True, False])
    if declared in ("integer", "number") and pa.types.is_string(values.type):
        numbers = [int(v) for v in values.to_pylist() if v.lstrip("-").isdecimal() and abs(int(v)) < 2**53]
        values = pa.array(numbers or list(range(_FEW)))
    if declared == "integer":
        return pa.array(np.round(values.to_numpy(zero_copy_only=False)).astype(np.int64))
    return values.cast(pa.float64(), safe=False) if declared == "number" else values
