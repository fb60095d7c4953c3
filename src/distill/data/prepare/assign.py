"""Assigns rows to splits, keeping requests whole, with memory bounded."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import pyarrow.compute as pc

from distill.codes import MISSING_KEY
from distill.data.format import SPLITS
from distill.data.prepare.chunk import Int8
from distill.data.prepare.keys import RowKeys, key_columns, raw_place, row_keys
from distill.data.prepare.plan import RawShape
from distill.data.prepare.progress import PassProgress
from distill.data.prepare.records import RecordPartitions, kth_smallest, partition_count
from distill.data.prepare.source import RawBatch, RawFiles
from distill.data.split import ColumnSplit, RandomSplit, SplitRule, TimeSplit, UserTimeSplit, WholeSplit
from distill.encodings.arrow import Int64
from distill.encodings.hashing import mix64
from distill.encodings.values import first, to_times
from distill.errors import DataError
from distill.schema import Schema

TRAIN, VAL, TEST = range(3)


class Assigner(Protocol):
    """Says which split each row of a batch belongs to."""

    def assign(self, batch: RawBatch, keys: RowKeys) -> Int8:
        """Returns indices into `SPLITS` `[n]`."""
        ...


@dataclass(frozen=True)
class ByHash:
    """`RandomSplit`."""

    rule: RandomSplit

    def assign(self, batch: RawBatch, keys: RowKeys) -> Int8:
        """Returns indices into `SPLITS` `[n]`."""
        share = mix64(keys.request, self.rule.seed + 1) / 2.0**64
        codes = np.full(len(share), TRAIN, np.int8)
        codes[share < self.rule.val + self.rule.test] = VAL
        codes[share < self.rule.test] = TEST
        return codes


@dataclass(frozen=True)
class AllTo:
    """`WholeSplit`."""

    code: int

    def assign(self, batch: RawBatch, keys: RowKeys) -> Int8:
        """Returns indices into `SPLITS` `[n]`."""
        return np.full(batch.num_rows, self.code, np.int8)


@dataclass(frozen=True)
class ByColumn:
    """`ColumnSplit`."""

    column: str
    files: RawFiles

    def assign(self, batch: RawBatch, keys: RowKeys) -> Int8:
        """Returns indices into `SPLITS` `[n]`.

        Raises:
            DataError: A value is not the name of a split.
        """
        distinct = pc.fill_null(batch.columns[self.column], "null").dictionary_encode()
        names = distinct.dictionary.to_pylist()
        indices = distinct.indices.to_numpy(zero_copy_only=False)
        for code, name in enumerate(names):
            if name not in SPLITS:
                place = raw_place(batch, self.column, "split column", self.files)
                raise DataError(
                    "A row names no split.",
                    where=place.at(int(np.argmax(indices == code))),
                    expected=" or ".join(SPLITS),
                    found=repr(name),
                    remedy="Correct the split column.",
                )
        codes: Int8 = np.array([SPLITS.index(name) for name in names], np.int8)[indices]
        return codes


@dataclass(frozen=True)
class ByTime:
    """`TimeSplit`: val begins at one time, test at a later one."""

    column: str
    files: RawFiles
    val_from: int
    test_from: int

    def assign(self, batch: RawBatch, keys: RowKeys) -> Int8:
        """Returns indices into `SPLITS` `[n]`."""
        times = to_times(batch.columns[self.column], raw_place(batch, self.column, "keys.time", self.files))
        return ((times >= self.val_from).astype(np.int8) + (times >= self.test_from)).astype(np.int8)


@dataclass(frozen=True)
class ByRow:
    """Splits computed beforehand, one byte per raw row."""

    codes: Int8

    def assign(self, batch: RawBatch, keys: RowKeys) -> Int8:
        """Returns indices into `SPLITS` `[n]`."""
        return np.array(self.codes[batch.start : batch.start + batch.num_rows])


def share_counts(requests: Int64, val: float, test: float) -> tuple[Int64, Int64]:
    """Returns how many of so many requests are test, and how many val or test: floor of the shares."""
    tiny = 1e-9  # 0.29 × 100 is 29
    return np.floor(test * requests + tiny).astype(np.int64), np.floor((val + test) * requests + tiny).astype(np.int64)


@dataclass(frozen=True)
class SplitPlanner:
    """Makes the assigner of a split rule, in passes over the key columns where the rule needs them."""

    files: RawFiles
    schema: Schema
    shape: RawShape
    scratch: Path
    memory_bytes: int
    bars: PassProgress

    def plan(self, rule: SplitRule) -> Assigner:
        """Returns the assigner of a rule.

        Raises:
            DataError: The rows of a request are in several splits, or times are missing.
        """
        if isinstance(rule, RandomSplit):
            return ByHash(rule)
        if isinstance(rule, WholeSplit):
            return AllTo([str(name) for name in SPLITS].index(rule.name))
        if isinstance(rule, ColumnSplit):
            by_column = ByColumn(rule.column, self.files)
            if self._is_scattered and self.shape == "flat":
                self._check_constant([rule.column], lambda batch, keys: by_column.assign(batch, keys).astype(np.int64))
            return by_column
        assert self.schema.keys.time is not None
        if isinstance(rule, TimeSplit):
            val_from, test_from = self._boundaries(rule, self.schema.keys.time)
            return ByTime(self.schema.keys.time, self.files, val_from, test_from)
        return ByRow(self._by_user(rule, self.schema.keys.time))

    @property
    def _is_scattered(self) -> bool:
        """Whether the rows of a request may be anywhere."""
        return self.schema.keys.request is not None and self.shape != "requests"

    def _keyed(self, columns: list[str], name: str) -> Iterator[tuple[RawBatch, RowKeys]]:
        bar = self.bars.begin(name, self.files.num_rows)
        for batch in self.files.batches(sorted({*columns, *key_columns(self.schema)})):
            yield batch, row_keys(batch, self.schema, self.files)
            bar.advance(batch.num_rows)

    def _times(self, batch: RawBatch, column: str) -> Int64:
        return to_times(batch.columns[column], raw_place(batch, column, "keys.time", self.files))

    def _user_and_time(self, batch: RawBatch, keys: RowKeys, column: str) -> Int64:
        return (mix64(keys.user) ^ mix64(self._times(batch, column), seed=1)).view(np.int64)

    def _constant(self, columns: list[str], value: Callable[[RawBatch, RowKeys], Int64]) -> Iterator[Int64]:
        """Yields a value of each request, partition by partition; raises DataError if it varies within a request."""
        partitions = self._partitions("requests", 3)
        for batch, keys in self._keyed(columns, "read requests"):
            rows = np.arange(batch.start, batch.start + batch.num_rows)
            partitions.add(keys.request, (keys.request, value(batch, keys), rows))
        for records in partitions.load_all():
            records = records[np.lexsort((records[:, 2], records[:, 0]))]
            is_first = np.ones(len(records), np.bool_)
            is_first[1:] = records[1:, 0] != records[:-1, 0]
            start = np.flatnonzero(is_first)[np.cumsum(is_first) - 1]
            if (position := first(records[:, 1] != records[start, 1])) >= 0:
                self._raise_inconstant(columns, int(records[start[position], 2]), int(records[position, 2]))
            yield records[is_first, 1]

    def _check_constant(self, columns: list[str], value: Callable[[RawBatch, RowKeys], Int64]) -> None:
        for _ in self._constant(columns, value):
            pass

    def _raise_inconstant(self, columns: list[str], row: int, other: int) -> None:
        raise DataError(
            "The rows of one request differ in what places it in a split.",
            where=f"{self.files.locate(other)}, column {' or '.join(map(repr, columns))}",
            expected=f"the value of {self.files.locate(row)}, which is of the same request",
            remedy="Requests stay whole: give all their rows one value, or correct `keys.request`.",
        )

    def _partitions(self, name: str, width: int) -> RecordPartitions:
        count = partition_count(self.files.num_rows * width * 8 * 4, self.memory_bytes)
        return RecordPartitions(self.scratch / name, count, width)

    def _boundaries(self, rule: TimeSplit, column: str) -> tuple[int, int]:
        """Returns the first times of val and test."""
        path = self.scratch / "times"
        with path.open("wb") as stream:
            if self._is_scattered:
                for times in self._constant([column], lambda batch, _: self._times(batch, column)):
                    times.tofile(stream)
            else:
                for batch, _ in self._keyed([column], "read times"):
                    self._times(batch, column).tofile(stream)
        times = np.memmap(path, np.int64, "r") if path.stat().st_size else np.zeros(0, np.int64)
        counts = share_counts(np.array([len(times)]), rule.val, rule.test)
        num_test, num_later = int(counts[0][0]), int(counts[1][0])
        if num_test == 0 or num_later == num_test:
            raise DataError(
                f"There are too few requests to split by time: {'test' if num_test == 0 else 'val'} would be empty.",
                where=f"{len(times)} requests",
                found=f"val={rule.val}, test={rule.test}",
                remedy="Use larger shares or more data.",
            )
        return kth_smallest(times, len(times) - num_later), kth_smallest(times, len(times) - num_test)

    def _by_user(self, rule: UserTimeSplit, column: str) -> Int8:
        if self._is_scattered and self.shape == "flat":
            users = [c for c in (self.schema.keys.user,) if c]
            self._check_constant([column, *users], lambda batch, keys: self._user_and_time(batch, keys, column))
        partitions = self._partitions("users", 4)
        for batch, keys in self._keyed([column], "read users"):
            rows = np.arange(batch.start, batch.start + batch.num_rows)
            alone = np.where(keys.user == MISSING_KEY, keys.request, keys.user)
            partitions.add(alone, (keys.user, self._times(batch, column), keys.request, rows))
        codes = np.memmap(self.scratch / "split", np.int8, "w+", shape=(max(1, self.files.num_rows),))
        for records in partitions.load_all():
            order = np.lexsort((records[:, 3], records[:, 2], records[:, 1], records[:, 0]))
            codes[records[order, 3]] = _rank_split(records[order], rule)
        return codes


def _rank_split(records: Int64, rule: UserTimeSplit) -> Int8:
    """Splits the requests of each user by rank; records are sorted by (user, time, request).

    A request without a user is that of a user who has no other.
    """
    other_user, other_request = (records[1:, column] != records[:-1, column] for column in (0, 2))
    new_user, new_request = np.ones((2, len(records)), np.bool_)
    new_user[1:] = other_user | (other_request & (records[1:, 0] == MISSING_KEY))
    new_request[1:] = other_user | other_request
    user = np.cumsum(new_user) - 1
    request = np.cumsum(new_request) - 1
    first_request = request[new_user]
    requests = np.diff(np.append(first_request, request[-1] + 1 if len(request) else 0))
    num_test, num_later = share_counts(requests, rule.val, rule.test)
    from_end = requests[user] - (request - first_request[user])
    codes: Int8 = ((from_end <= num_later[user]).astype(np.int8) + (from_end <= num_test[user])).astype(np.int8)
    return codes
