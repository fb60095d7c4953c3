"""Assigns rows to splits, keeping requests whole, with memory bounded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

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
)
from distill.data.prepare.boundaries import boundary
from distill.data.prepare.chunk import Int8
from distill.data.prepare.exchange import Exchange, KeyRows
from distill.data.prepare.file_codes import file_codes
from distill.data.prepare.progress import PassProgress
from distill.data.prepare.records import kth_smallest
from distill.data.prepare.source import RawFiles
from distill.data.prepare.split_numbers import (
    Codes,
    Column,
    FirstValues,
    OfRequests,
    OfUsers,
    RankSplit,
    Times,
    UserAndTime,
    Value,
    share_counts,
    users,
)
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
from distill.engines import Engine
from distill.errors import DataError
from distill.schema import Schema


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
        engine: Makes the passes.
    """

    files: RawFiles
    raw: RawDataset
    shape: RawShape
    scratch: Path
    memory_bytes: int
    bars: PassProgress
    engine: Engine

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
                self._check_constant([str(self.schema.keys.user)], users)
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
            self._check_constant([column], Codes(assigner))
        return assigner

    def _check_files(self, by_file: ByFile) -> None:
        """Refuses rows of one request in the files of two splits."""
        read = [by_file.rest.column] if isinstance(by_file.rest, ByTime | ByColumn) else []
        for _ in self._constant([], Codes(by_file), True, read):
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

    @property
    def _exchange(self) -> Exchange:
        return Exchange(self.scratch, self.memory_bytes, self.bars, self.engine)

    def _rows(self, columns: Sequence[str], whole: bool = False) -> KeyRows:
        """The rows that the rule divides, or all."""
        stop = self.files.num_rows if whole else self._divided_rows
        return KeyRows(self.files, self.schema, stop, tuple(columns))

    def _constant(
        self, columns: Sequence[str], value: Value, whole: bool = False, read: Sequence[str] = ()
    ) -> Iterator[Int64]:
        """Yields a value of each request, partition by partition; raises DataError if it varies within a request.

        `columns` is what the value is of, `read` what it is made of beside.
        """
        rows, look = self._rows([*columns, *read], whole), FirstValues(tuple(columns))
        return self._exchange.partitions(rows, OfRequests(value), 3, look, "read requests")

    def _check_constant(self, columns: Sequence[str], value: Value) -> None:
        for _ in self._constant(columns, value):
            pass

    def _boundaries(self, rule: TimeSplit, column: str) -> tuple[int | None, int | None]:
        """Returns the first times of val and test, None of those that have files of their own."""
        path = self.scratch / "times"
        with path.open("wb") as stream:
            for found in self._times(column):
                found.tofile(stream)
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

    def _times(self, column: str) -> Iterator[Int64]:
        """Yields the times of all requests."""
        if self._is_scattered:
            return self._constant([column], Times(column))
        paths = self._exchange.columns(self._rows([column]), Column(Times(column)), "read times")
        return (np.fromfile(path, np.int64) for path in paths)

    def _by_user(self, rule: UserTimeSplit, column: str) -> Int8:
        if self._is_scattered and self.shape == "flat":
            users = [c for c in (self.schema.keys.user,) if c]
            self._check_constant([column, *users], UserAndTime(column))
        codes = np.memmap(self.scratch / "split", np.int8, "w+", shape=(max(1, self._divided_rows),))
        look = RankSplit(*self._shares(rule))
        for rows, found in self._exchange.partitions(self._rows([column]), OfUsers(column), 4, look, "read users"):
            codes[rows] = found
        return codes
