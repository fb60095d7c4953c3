"""Fixed-width integer records on disk, partitioned by hash, and exact selection from them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from distill.encodings.arrow import Int64
from distill.encodings.hashing import UInt64, mix64

_MAX_PARTITIONS = 512
_WINDOW = 1 << 20
_DIGIT_BITS = 16


def partition_count(working_bytes: int, memory_bytes: int) -> int:
    """Returns in how many partitions data is worked on so that one takes a quarter of the memory at most."""
    return int(np.clip(-(-working_bytes * 4 // max(1, memory_bytes)), 1, _MAX_PARTITIONS))


def partition_of(hashed: UInt64, count: int) -> Int64:
    """Returns the partition of each hash: partitions are ranges of hashes, in ascending order."""
    partition: Int64 = ((hashed >> np.uint64(32)) * np.uint64(count) >> np.uint64(32)).astype(np.int64)
    return partition


class RecordPartitions:
    """Records of int64, spread over files by the hash of a key.

    Args:
        folder: For the files; created.
        count: Number of partitions.
    """

    def __init__(self, folder: Path, count: int) -> None:
        folder.mkdir()
        self._paths = [folder / str(p) for p in range(count)]

    def add(self, key: Int64, columns: tuple[Int64, ...]) -> None:
        """Adds the records whose columns are given `[n]` each, by `key [n]`."""
        records = np.stack(columns, axis=1)
        if len(self._paths) > 1:
            partition = partition_of(mix64(key), len(self._paths))
            order = np.argsort(partition, kind="stable")
            records, counts = records[order], np.bincount(partition, minlength=len(self._paths))
        else:
            counts = np.array([len(records)])
        ends = np.cumsum(counts)
        for p in np.flatnonzero(counts):
            with self._paths[p].open("ab") as stream:
                records[ends[p] - counts[p] : ends[p]].tofile(stream)


def read_records(folders: Sequence[Path], partition: int, width: int) -> Int64:
    """Reads the records of a partition `[n, width]`, of one folder after the other, in order of addition."""
    paths = [path for folder in folders if (path := folder / str(partition)).exists()]
    records = [np.zeros(0, np.int64), *(np.fromfile(path, np.int64) for path in paths)]
    return np.concatenate(records).reshape(-1, width)


def kth_smallest(values: Int64, k: int) -> int:
    """Selects the value at position k (from 0) of the sorted array by radix, reading it window by window.

    Args:
        values: Any number of int64, may be memory-mapped.
        k: Position.
    """
    flip = np.uint64(1 << 63)
    prefix, known = np.uint64(0), 0
    while known < 64:
        shift = np.uint64(64 - known - _DIGIT_BITS)
        counts = np.zeros(1 << _DIGIT_BITS, np.int64)
        for start in range(0, len(values), _WINDOW):
            window = values[start : start + _WINDOW].view(np.uint64) ^ flip
            if known:
                window = window[window >> np.uint64(64 - known) == prefix]
            digits = (window >> shift) & np.uint64((1 << _DIGIT_BITS) - 1)
            counts += np.bincount(digits.astype(np.int64), minlength=1 << _DIGIT_BITS)
        ends = np.cumsum(counts)
        digit = int(np.searchsorted(ends, k, side="right"))
        k -= int(ends[digit] - counts[digit])
        prefix = (prefix << np.uint64(_DIGIT_BITS)) | np.uint64(digit)
        known += _DIGIT_BITS
    return int((np.array([prefix]) ^ flip).view(np.int64)[0])
