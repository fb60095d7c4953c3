"""Assigns rows to splits, keeping requests whole, with memory bounded."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from distill.codes import MISSING_KEY
from distill.data.format import SPLITS
from distill.data.prepare.assigners import (
    TRAIN,
    AllTo,
    Assigner,
    ByColumn,
    ByFile,
    ByFold,
    ByHash,
    ByRow,
    ByTime,
    request_in_two_splits,
)
from distill.data.prepare.boundaries import boundary
from distill.data.prepare.chunk import Int8
from distill.data.prepare.file_codes import file_codes
from distill.data.prepare.keys import RowKeys, key_columns, raw_place, row_keys
from distill.data.prepare.progress import PassProgress
from distill.data.prepare.records import RecordPartitions, kth_smallest, partition_count
from distill.data.prepare.source import RawBatch, RawFiles
from distill.data.prepare.uses import RawShape
from distill.data.raw import RawDataset
from distill.data.split import (
    ColumnSplit,
    DateSplit,
    FileSplit,
    KFoldSplit,
    RandomSplit,
    SplitRule,
    TimeSplit,
    UserTimeSplit,
    WholeSplit,
)
from distill.encodings.arrow import Int64
from distill.encodings.hashing import mix64
from distill.encodings.values import first, to_times
from distill.errors import DataError
from distill.schema import Schema


def share_counts(requests: Int64, val: float, test: float) -> tuple[Int64, Int64]:
    """Returns how many of so many requests are test, and how many val or test: floor of the shares."""
    tiny = 1e-9  # 0.29 × 100 is 29
    return np.floor(test * requests + tiny).astype(np.int64), np.floor((val + test) * requests + tiny).astype(np.int64)


@dataclass(frozen=True)
class SplitPlanner:
    """Makes the assigner of a split rule, in passes over the key columns where the rule needs them.

    Attributes:
        files: All files of the dataset.
        raw: The dataset.
        shape: Of its rows.
        scratch: Folder for records.
        memory_bytes: What the passes may hold.
        bars: Told of the passes.
    """

    files: RawFiles
    raw: RawDataset
    shape: RawShape
    scratch: Path
    memory_bytes: int
    bars: PassProgress

    def plan(self) -> Assigner:
        """Returns the assigner of the dataset.

        Raises:
            ConfigError: Dates do not fit the column that they are held against, or no file is of a pattern.
            DataError: The rows of a request are in several splits, or times are missing.
        """
        rule = self.raw.rule
        codes = [code for code, name in enumerate(SPLITS) for _ in self.raw.apart.get(name, ())]
        if isinstance(rule, FileSplit):
            by_file = ByFile(self.files, (*file_codes(self.raw.files, rule), *codes))
        elif codes:
            by_file = ByFile(self.files, tuple(codes), AllTo(TRAIN) if rule is None else self._by_rule(rule))
        else:
            assert rule is not None
            return self._by_rule(rule)
        if self.schema.keys.request is not None and self.shape != "pairs":  # grouping sees the pairs of a request
            self._check_files(by_file)
        return by_file

    @property
    def schema(self) -> Schema:
        """Of the dataset."""
        return self.raw.schema

    def _by_rule(self, rule: SplitRule) -> Assigner:
        if isinstance(rule, RandomSplit):
            return ByHash(*self._shares(rule), rule.seed)
        if isinstance(rule, KFoldSplit):
            if rule.by == "user" and self._is_scattered and self.shape == "flat":
                self._check_constant([str(self.schema.keys.user)], lambda _, keys: keys.user)
            return ByFold(rule, 0.0 if "val" in self.raw.apart else rule.val)
        if isinstance(rule, WholeSplit):
            return AllTo([str(name) for name in SPLITS].index(rule.name))
        if isinstance(rule, ColumnSplit):
            by_column = ByColumn(rule.column, self.files)
            return self._checked(by_column, rule.column)
        if isinstance(rule, DateSplit):
            return self._checked(self._by_date(rule), rule.column or str(self.schema.keys.time))
        assert self.schema.keys.time is not None
        if isinstance(rule, TimeSplit):
            return ByTime(
                self.schema.keys.time, "keys.time", self.files, *self._boundaries(rule, self.schema.keys.time)
            )
        assert isinstance(rule, UserTimeSplit)
        return ByRow(self._by_user(rule, self.schema.keys.time))

    def _checked(self, assigner: Assigner, column: str) -> Assigner:
        """Refuses rows of one request in several splits, where nothing else would see them."""
        if self._is_scattered and self.shape == "flat":
            self._check_constant([column], lambda batch, keys: assigner.assign(batch, keys).astype(np.int64))
        return assigner

    def _check_files(self, by_file: ByFile) -> None:
        """Refuses rows of one request in the files of two splits."""
        read = [by_file.rest.column] if isinstance(by_file.rest, ByTime | ByColumn) else []
        for _ in self._constant([], lambda batch, keys: by_file.assign(batch, keys).astype(np.int64), True, read):
            pass

    def _by_date(self, rule: DateSplit) -> ByTime:
        column = rule.column or self.schema.keys.time
        assert column is not None
        kind = self.files.types([column])[column]
        val, test = (
            None if value is None else boundary(value, kind, rule.unit, f"data.adapter.split.{name}", column)
            for name, value in (("val", rule.val), ("test", rule.test))
        )
        return ByTime(column, "split column" if rule.column else "keys.time", self.files, val, test)

    def _shares(self, rule: RandomSplit | TimeSplit | UserTimeSplit) -> tuple[float, float]:
        """Returns the shares of val and test, 0 of those that have files of their own."""
        apart = self.raw.apart
        return 0.0 if "val" in apart else rule.val, 0.0 if "test" in apart else rule.test

    @cached_property
    def _divided_rows(self) -> int:
        """Rows that the rule divides, which come first."""
        return self.files.first_row(len(self.raw.files))

    @property
    def _is_scattered(self) -> bool:
        """Whether the rows of a request may be anywhere."""
        return self.schema.keys.request is not None and self.shape != "requests"

    def _keyed(self, columns: list[str], name: str, whole: bool = False) -> Iterator[tuple[RawBatch, RowKeys]]:
        """Streams the rows that the rule divides, or all, with their keys."""
        rows = self.files.num_rows if whole else self._divided_rows
        bar = self.bars.begin(name, rows)
        for batch in self.files.batches(sorted({*columns, *key_columns(self.schema)}), stop=rows):
            yield batch, row_keys(batch, self.schema, self.files)
            bar.advance(batch.num_rows)

    def _times(self, batch: RawBatch, column: str) -> Int64:
        return to_times(batch.columns[column], raw_place(batch, column, "keys.time", self.files))

    def _user_and_time(self, batch: RawBatch, keys: RowKeys, column: str) -> Int64:
        return (mix64(keys.user) ^ mix64(self._times(batch, column), seed=1)).view(np.int64)

    def _constant(
        self,
        columns: list[str],
        value: Callable[[RawBatch, RowKeys], Int64],
        whole: bool = False,
        read: Sequence[str] = (),
    ) -> Iterator[Int64]:
        """Yields a value of each request, partition by partition; raises DataError if it varies within a request.

        `columns` is what the value is of, `read` what it is made of beside.
        """
        partitions = self._partitions("all requests" if whole else "requests", 3)
        for batch, keys in self._keyed([*columns, *read], "read requests", whole):
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
        if not columns:
            raise request_in_two_splits(self.files, row, other)
        raise DataError(
            "The rows of one request differ in what places it in a split.",
            where=f"{self.files.locate(other)}, column {' or '.join(map(repr, columns))}",
            expected=f"the value of {self.files.locate(row)}, which is of the same request",
            remedy="Requests stay whole: give all their rows one value, or correct `keys.request`.",
        )

    def _partitions(self, name: str, width: int) -> RecordPartitions:
        count = partition_count(self.files.num_rows * width * 8 * 4, self.memory_bytes)
        return RecordPartitions(self.scratch / name, count, width)

    def _boundaries(self, rule: TimeSplit, column: str) -> tuple[int | None, int | None]:
        """Returns the first times of val and test, None of those that have files of their own."""
        path = self.scratch / "times"
        with path.open("wb") as stream:
            if self._is_scattered:
                for times in self._constant([column], lambda batch, _: self._times(batch, column)):
                    times.tofile(stream)
            else:
                for batch, _ in self._keyed([column], "read times"):
                    self._times(batch, column).tofile(stream)
        times = np.memmap(path, np.int64, "r") if path.stat().st_size else np.zeros(0, np.int64)
        val, test = self._shares(rule)
        counts = share_counts(np.array([len(times)]), val, test)
        num_test, num_later = int(counts[0][0]), int(counts[1][0])
        no_test, no_val = num_test == 0 and test > 0, num_later == num_test and val > 0
        if no_test or no_val:
            raise DataError(
                f"There are too few requests to split by time: {'test' if no_test else 'val'} would be empty.",
                where=f"{len(times)} requests",
                found=f"val={rule.val}, test={rule.test}",
                remedy="Use larger shares or more data.",
            )
        return (
            kth_smallest(times, len(times) - num_later) if val > 0 else None,
            kth_smallest(times, len(times) - num_test) if test > 0 else None,
        )

    def _by_user(self, rule: UserTimeSplit, column: str) -> Int8:
        if self._is_scattered and self.shape == "flat":
            users = [c for c in (self.schema.keys.user,) if c]
            self._check_constant([column, *users], lambda batch, keys: self._user_and_time(batch, keys, column))
        partitions = self._partitions("users", 4)
        for batch, keys in self._keyed([column], "read users"):
            rows = np.arange(batch.start, batch.start + batch.num_rows)
            alone = np.where(keys.user == MISSING_KEY, keys.request, keys.user)
            partitions.add(alone, (keys.user, self._times(batch, column), keys.request, rows))
        codes = np.memmap(self.scratch / "split", np.int8, "w+", shape=(max(1, self._divided_rows),))
        for records in partitions.load_all():
            order = np.lexsort((records[:, 3], records[:, 2], records[:, 1], records[:, 0]))
            codes[records[order, 3]] = _rank_split(records[order], *self._shares(rule))
        return codes


def _rank_split(records: Int64, val: float, test: float) -> Int8:
    """Splits the requests of each user by rank, into shares; records are sorted by (user, time, request).

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
    num_test, num_later = share_counts(requests, val, test)
    from_end = requests[user] - (request - first_request[user])
    codes: Int8 = ((from_end <= num_later[user]).astype(np.int8) + (from_end <= num_test[user])).astype(np.int8)
    return codes
