"""What splits look at in rows, in requests and in users: numbers that can be made and looked at in any process."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from distill.codes import MISSING_KEY
from distill.data.prepare.assigners import Assigner, request_in_two_splits
from distill.data.prepare.chunk import Int8
from distill.data.prepare.keys import RowKeys, raw_place
from distill.data.prepare.source import RawBatch, RawFiles
from distill.encodings.arrow import Int64
from distill.encodings.hashing import mix64
from distill.encodings.times import to_times
from distill.encodings.values import first
from distill.errors import DataError

Value = Callable[[RawBatch, RowKeys, RawFiles], Int64]
"""Makes a number of each row of a batch."""


@dataclass(frozen=True)
class Times:
    """The time of a row."""

    column: str

    def __call__(self, batch: RawBatch, keys: RowKeys, files: RawFiles) -> Int64:
        """Returns `[n]`."""
        return to_times(batch.columns[self.column], raw_place(batch, self.column, "keys.time", files))


@dataclass(frozen=True)
class UserAndTime:
    """The user and the time of a row, in one number."""

    column: str

    def __call__(self, batch: RawBatch, keys: RowKeys, files: RawFiles) -> Int64:
        """Returns `[n]`."""
        times = Times(self.column)(batch, keys, files)
        return (mix64(keys.user) ^ mix64(times, seed=1)).view(np.int64)


@dataclass(frozen=True)
class Codes:
    """The split of a row."""

    assigner: Assigner

    def __call__(self, batch: RawBatch, keys: RowKeys, files: RawFiles) -> Int64:
        """Returns `[n]`."""
        return self.assigner.assign(batch, keys).astype(np.int64)


def users(batch: RawBatch, keys: RowKeys, files: RawFiles) -> Int64:
    """Returns the user of each row `[n]`."""
    return keys.user


@dataclass(frozen=True)
class Column:
    """A value alone."""

    value: Value

    def __call__(self, batch: RawBatch, keys: RowKeys, files: RawFiles) -> tuple[Int64, ...]:
        """Returns the value."""
        return (self.value(batch, keys, files),)


@dataclass(frozen=True)
class OfRequests:
    """Records of rows, spread by request: request, value, number of the row."""

    value: Value

    def __call__(self, batch: RawBatch, keys: RowKeys, files: RawFiles) -> tuple[Int64, ...]:
        """Returns the key and the record."""
        return keys.request, keys.request, self.value(batch, keys, files), _numbers(batch)


@dataclass(frozen=True)
class OfUsers:
    """Records of rows, spread by user: user, time, request, number of the row. Nobody's requests are alone."""

    column: str

    def __call__(self, batch: RawBatch, keys: RowKeys, files: RawFiles) -> tuple[Int64, ...]:
        """Returns the key and the record."""
        alone = np.where(keys.user == MISSING_KEY, keys.request, keys.user)
        return alone, keys.user, Times(self.column)(batch, keys, files), keys.request, _numbers(batch)


def _numbers(batch: RawBatch) -> Int64:
    return np.arange(batch.start, batch.start + batch.num_rows)


@dataclass(frozen=True)
class FirstValues:
    """Takes the value of each request of records of `OfRequests`.

    Attributes:
        columns: What the value is of, for the error.
    """

    columns: tuple[str, ...]

    def __call__(self, files: RawFiles, records: Int64) -> Int64:
        """Returns a value for each request.

        Raises:
            DataError: It varies within one.
        """
        records = records[np.lexsort((records[:, 2], records[:, 0]))]
        is_first = np.ones(len(records), np.bool_)
        is_first[1:] = records[1:, 0] != records[:-1, 0]
        start = np.flatnonzero(is_first)[np.cumsum(is_first) - 1]
        if (position := first(records[:, 1] != records[start, 1])) >= 0:
            self._raise_inconstant(files, int(records[start[position], 2]), int(records[position, 2]))
        values: Int64 = records[is_first, 1]
        return values

    def _raise_inconstant(self, files: RawFiles, row: int, other: int) -> None:
        if not self.columns:
            raise request_in_two_splits(files, row, other)
        raise DataError(
            "The rows of one request belong to different splits.",
            where=f"{files.locate(other)}, column {' or '.join(map(repr, self.columns))}",
            expected=f"the value of {files.locate(row)}, which is of the same request",
            remedy="Requests stay whole: give all their rows one value, or correct `keys.request`.",
        )


@dataclass(frozen=True)
class RankSplit:
    """Splits the requests of each user by rank, of records of `OfUsers`: shares of val and test."""

    val: float
    test: float

    def __call__(self, files: RawFiles, records: Int64) -> tuple[Int64, Int8]:
        """Returns numbers of rows, and the split of each."""
        order = np.lexsort((records[:, 3], records[:, 2], records[:, 1], records[:, 0]))
        return records[order, 3], _rank_split(records[order], self.val, self.test)


def share_counts(requests: Int64, val: float, test: float) -> tuple[Int64, Int64]:
    """Returns how many of so many requests are test, and how many val or test: floor of the shares."""
    tiny = 1e-9  # 0.29 × 100 is 29
    return np.floor(test * requests + tiny).astype(np.int64), np.floor((val + test) * requests + tiny).astype(np.int64)


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
