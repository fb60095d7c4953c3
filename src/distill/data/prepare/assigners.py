"""Which split a row belongs to, once a split rule is worked out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import pyarrow.compute as pc

from distill.codes import MISSING_KEY
from distill.data.format import SPLITS
from distill.data.prepare.chunk import Int8
from distill.data.prepare.keys import RowKeys, raw_place
from distill.data.prepare.source import RawBatch, RawFiles
from distill.data.split import KFoldSplit
from distill.encodings.hashing import mix64
from distill.encodings.times import to_times
from distill.errors import DataError

TRAIN, VAL, TEST = range(3)


class Assigner(Protocol):
    """Says which split each row of a batch belongs to."""

    def assign(self, batch: RawBatch, keys: RowKeys) -> Int8:
        """Returns indices into `SPLITS` `[n]`."""
        ...


@dataclass(frozen=True)
class ByHash:
    """`RandomSplit`: shares of val and test, and the seed."""

    val: float
    test: float
    seed: int

    def assign(self, batch: RawBatch, keys: RowKeys) -> Int8:
        """Returns indices into `SPLITS` `[n]`."""
        share = mix64(keys.request, self.seed + 1) / 2.0**64
        codes = np.full(len(share), TRAIN, np.int8)
        codes[share < self.val + self.test] = VAL
        codes[share < self.test] = TEST
        return codes


@dataclass(frozen=True)
class ByFold:
    """`KFoldSplit`, with the share of val of the requests outside the fold of test."""

    rule: KFoldSplit
    val: float

    def assign(self, batch: RawBatch, keys: RowKeys) -> Int8:
        """Returns indices into `SPLITS` `[n]`."""
        hashed = keys.request
        if self.rule.by == "user":
            hashed = np.where(keys.user == MISSING_KEY, keys.request, keys.user)
        fold, share = (mix64(hashed, 2 * self.rule.seed + draw) / 2.0**64 for draw in (1, 2))
        codes = np.full(len(share), TRAIN, np.int8)
        codes[share < self.val] = VAL
        codes[np.floor(fold * self.rule.k) == self.rule.fold] = TEST
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
    """`TimeSplit` and `DateSplit`: val begins at one time, test at a later one; None where there is no such split.

    Attributes:
        column: Of times.
        purpose: What the column is used for.
        files: The raw files, to name places.
        val_from, test_from: First times, as `to_times` makes them.
    """

    column: str
    purpose: str
    files: RawFiles
    val_from: int | None
    test_from: int | None

    def assign(self, batch: RawBatch, keys: RowKeys) -> Int8:
        """Returns indices into `SPLITS` `[n]`."""
        times = to_times(batch.columns[self.column], raw_place(batch, self.column, self.purpose, self.files))
        codes = np.full(len(times), TRAIN, np.int8)
        if self.val_from is not None:
            codes[times >= self.val_from] = VAL
        if self.test_from is not None:
            codes[times >= self.test_from] = TEST
        return codes


@dataclass(frozen=True)
class ByRow:
    """Splits computed beforehand, one byte per raw row."""

    codes: Int8

    def assign(self, batch: RawBatch, keys: RowKeys) -> Int8:
        """Returns indices into `SPLITS` `[n]`."""
        return np.array(self.codes[batch.start : batch.start + batch.num_rows])


@dataclass(frozen=True)
class ByFile:
    """`FileSplit`, and splits that have files of their own.

    Attributes:
        files: The raw files; a batch is of one of them.
        codes: Index into `SPLITS` of each of the last files.
        rest: Of the rows of the files before those.
    """

    files: RawFiles
    codes: tuple[int, ...]
    rest: Assigner | None = None

    def assign(self, batch: RawBatch, keys: RowKeys) -> Int8:
        """Returns indices into `SPLITS` `[n]`."""
        number = self.files.number_of(batch.start) - (len(self.files.files) - len(self.codes))
        if number < 0:
            assert self.rest is not None
            return self.rest.assign(batch, keys)
        return np.full(batch.num_rows, self.codes[number], np.int8)


def request_in_two_splits(files: RawFiles, row: int, other: int) -> DataError:
    """Builds the error of a request that has rows, counted over all files, in files of two splits."""
    return DataError(
        "A request is in the files of two splits.",
        where=files.locate(other),
        expected="all rows of a request in the files of one split",
        found=f"the id of its request in {files.locate(row)} too",
        remedy="Requests stay whole: move the rows, or, if each file numbers its requests anew, declare "
        "`keys: {per_file: true}` in the schema.",
    )
