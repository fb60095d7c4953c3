"""Counters by split that chunks are added to, one idea each; how the stream was cut into chunks changes nothing."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from distill.data.contents import FieldNumbers, LabelNumbers, TimeRange
from distill.data.format import SPLITS
from distill.data.prepare.accumulate import Extremes, Moments
from distill.data.prepare.chunk import Int8
from distill.data.prepare.counts import by_split
from distill.data.prepare.streams import Streams, absorb_stream, as_they_come
from distill.encodings.arrow import Bool, Int64, family, null_mask
from distill.encodings.fitted import EncodedField
from distill.encodings.place import Place
from distill.encodings.times import to_times
from distill.errors import DataError
from distill.schema import FieldSpec, Kind

Float32 = npt.NDArray[np.float32]

_GLANCE = 4096


def _parts(split: Int8) -> Iterator[tuple[int, Bool | slice]]:
    """Yields the splits that rows are of, and which rows; a slice if all rows are of one split."""
    present = np.flatnonzero(by_split(split))
    for code in present.tolist():
        yield code, slice(None) if len(present) == 1 else split == code


class LabelMeter:
    """Labels of one task; of binary ones the mean follows from the counts."""

    def __init__(self, is_binary: bool, streams: Streams = as_they_come) -> None:
        self._candidates, self._labelled, self._positive = np.zeros((3, len(SPLITS)), np.int64)
        self._values = None if is_binary else [(Extremes(), streams(Moments())) for _ in SPLITS]

    def add(self, labels: Float32, split: Int8, unobserved: Int64) -> None:
        """Adds candidates `[N]`; labels are NaN where not observed, which are so many by split `[3]`."""
        candidates = by_split(split)
        self._candidates += candidates
        self._labelled += candidates - unobserved
        self._positive += by_split(split, labels > 0)
        if self._values is None:
            return
        for code, rows in _parts(split):
            values = labels[rows].astype(np.float64)
            values = values[~np.isnan(values)]
            for meter in self._values[code]:
                meter.add(values)

    def absorb(self, other: LabelMeter) -> None:
        """Adds what another one counted of later candidates."""
        self._candidates += other._candidates
        self._labelled += other._labelled
        self._positive += other._positive
        for (extremes, moments), (low_high, numbers) in zip(self._values or (), other._values or (), strict=True):
            extremes.absorb(low_high)
            absorb_stream(moments, numbers)

    def result(self, code: int) -> LabelNumbers:
        """Returns the numbers of a split."""
        labelled, positive = int(self._labelled[code]), int(self._positive[code])
        low = mean = high = None
        if labelled and self._values is None:
            low, mean, high = float(positive == labelled), positive / labelled, float(positive > 0)
        elif labelled and self._values is not None:
            extremes, moments = self._values[code]
            low, mean, high = extremes.low, moments.result()[0], extremes.high
        candidates = int(self._candidates[code])
        return LabelNumbers(candidates=candidates, labelled=labelled, positive=positive, low=low, mean=mean, high=high)


class FieldMeter:
    """Values of one field."""

    def __init__(self, spec: FieldSpec) -> None:
        self._is_sequence = spec.is_sequence
        self._is_scalar = spec.kind in (Kind.ID, Kind.NUMBER)
        self._rows, self._missing, self._values, self._unknown = np.zeros((4, len(SPLITS)), np.int64)
        # Looking for the range of a split ends as soon as it has two values.
        self._ranges: list[Extremes | None] = [Extremes() if self._is_scalar else None for _ in SPLITS]

    def add(self, encoded: EncodedField, split: Int8, rows: Int64, unknown: Int64) -> None:
        """Adds the encoded values of rows `[n]`, of which there are so many, and of unknown values, by split `[3]`."""
        missed = by_split(split, encoded.missing if self._is_scalar else np.unique(encoded.missing))
        self._rows += rows
        self._missing += missed
        self._unknown += unknown
        if self._is_sequence:
            lengths = encoded.array.value_lengths().to_numpy(zero_copy_only=False)
            self._values += np.bincount(split, weights=lengths, minlength=len(SPLITS)).astype(np.int64)
        else:
            self._values += rows - missed
        if any(self._ranges):
            self._add_range(encoded.array, split)

    def _add_range(self, array: pa.Array, split: Int8) -> None:
        values = array.to_numpy(zero_copy_only=False)
        for part in (slice(0, _GLANCE), slice(_GLANCE, None)):  # a glance tells most fields that are not constant
            for code, extremes in enumerate(self._ranges):
                if extremes is not None:
                    extremes.add(values[part][split[part] == code])
                    if extremes.low < extremes.high:
                        self._ranges[code] = None

    def absorb(self, other: FieldMeter) -> None:
        """Adds what another one counted."""
        self._rows += other._rows
        self._missing += other._missing
        self._values += other._values
        self._unknown += other._unknown
        for code, (own, more) in enumerate(zip(self._ranges, other._ranges, strict=True)):
            if own is not None and more is not None:
                own.absorb(more)
            if own is None or more is None or own.low < own.high:
                self._ranges[code] = None

    def result(self, code: int) -> FieldNumbers:
        """Returns the numbers of a split."""
        return FieldNumbers(
            rows=int(self._rows[code]),
            missing=int(self._missing[code]),
            values=int(self._values[code]),
            unknown=int(self._unknown[code]),
            constant=self._ranges[code] is not None and int(self._rows[code]) > 1,
        )


class TimeMeter:
    """Times of raw rows."""

    def __init__(self) -> None:
        self._limits = [(2**63 - 1, -(2**63)) for _ in SPLITS]
        self._missing = np.zeros(len(SPLITS), np.int64)
        self._unreadable = np.zeros(len(SPLITS), np.bool_)
        self._kind: pa.DataType | None = None

    def add(self, array: pa.Array, place: Place, split: Int8) -> None:
        """Adds the times of rows `[n]`."""
        if array.null_count:
            null = null_mask(array)
            self._missing += by_split(split, null)
            array, split = array.filter(pa.array(~null)), split[~null]
        if len(array) == 0:
            return
        try:
            times = to_times(array, place)
        except DataError:  # nobody but this report needs them, or it would have been said before
            self._unreadable |= by_split(split) > 0
            return
        self._kind = array.type
        for code, rows in _parts(split):
            low, high = self._limits[code]
            self._limits[code] = min(low, int(times[rows].min())), max(high, int(times[rows].max()))

    def absorb(self, other: TimeMeter) -> None:
        """Adds what another one has seen."""
        both = zip(self._limits, other._limits, strict=True)
        self._limits = [(min(low, least), max(high, most)) for (low, high), (least, most) in both]
        self._missing += other._missing
        self._unreadable |= other._unreadable
        self._kind = other._kind or self._kind

    def result(self, code: int) -> TimeRange:
        """Returns the range of a split."""
        (low, high), missing = self._limits[code], int(self._missing[code])
        if self._unreadable[code]:
            return TimeRange(missing=missing, unreadable=True)
        if low > high or self._kind is None:
            return TimeRange(missing=missing)
        return TimeRange(first=_time_text(low, self._kind), last=_time_text(high, self._kind), missing=missing)


def _time_text(value: int, kind: pa.DataType) -> str:
    """Writes what `to_times` made of a time as it was, about."""
    if family(kind) == "float":
        return repr(float(np.array(value if value >= 0 else value ^ (2**63 - 1), np.int64).view(np.float64)))
    if not (pa.types.is_timestamp(kind) or pa.types.is_date(kind) or pa.types.is_string(kind)):
        return str(value)
    try:
        return (datetime(1970, 1, 1) + timedelta(microseconds=value)).isoformat(sep=" ")
    except OverflowError:
        return f"{value} µs"
