"""Finds a thousand keys among millions: by place where integers are dense, else by their hash."""

from __future__ import annotations

from functools import cached_property

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from distill.encodings.arrow import Int64
from distill.encodings.hashing import UInt64, hash_strings, mix64

_DENSE = 4  # places for each key, at most

_Buckets = tuple[UInt64, Int64, Int64, np.uint64]
"""Hashes in ascending order, their positions, where each bucket of leading bits starts, and the shift to it."""


class KeyTable:
    """Positions of keys.

    Args:
        keys: Distinct, int64 or string, without nulls `[n]`.
    """

    def __init__(self, keys: pa.Array) -> None:
        self.keys = keys
        self.is_text = pa.types.is_string(keys.type)
        self._sorted: _Buckets | None = None
        self._numbers: Int64 = np.zeros(0, np.int64) if self.is_text else keys.to_numpy(zero_copy_only=False)

    def find(self, wanted: pa.Array) -> Int64:
        """Returns the position of each key, -1 of one that is not there.

        Args:
            wanted: Of the type of the keys, without nulls `[m]`.
        """
        if not self.is_text:
            return self.find_integers(wanted.to_numpy(zero_copy_only=False))
        if len(self.keys) == 0 or len(wanted) == 0:
            return np.full(len(wanted), -1, np.int64)
        found = self._by_hash(hash_strings(wanted))
        same = pc.equal(self.keys.take(pa.array(np.maximum(found, 0))), wanted)
        return np.where(same.to_numpy(zero_copy_only=False), found, -1)

    def find_integers(self, wanted: Int64) -> Int64:
        """Returns the position of each integer `[m]`, -1 of one that is not there; of integer keys alone."""
        if len(self.keys) == 0 or len(wanted) == 0:
            return np.full(len(wanted), -1, np.int64)
        if self._places is None:
            return self._by_hash(mix64(wanted))
        first, places = self._places
        offsets = wanted - first  # beyond 63 bits it wraps, to a place outside the table
        inside = offsets.view(np.uint64) < np.uint64(len(places))
        if inside.all():
            return places.take(offsets)
        return np.where(inside, places[np.where(inside, offsets, 0)], -1)

    @cached_property
    def _places(self) -> tuple[np.int64, Int64] | None:
        """The smallest of integers that lie close together, and the position of each from there on."""
        low, high = int(self._numbers.min()), int(self._numbers.max())
        if high - low >= _DENSE * len(self._numbers):
            return None
        places = np.full(high - low + 1, -1, np.int64)
        places[self._numbers - low] = np.arange(len(self._numbers))
        return np.int64(low), places

    @property
    def _buckets(self) -> _Buckets:
        if self._sorted is None:  # threads may sort it twice; `cached_property` of Python 3.11 locks all tables
            self._sorted = self._sort()
        return self._sorted

    def _sort(self) -> _Buckets:
        hashes = hash_strings(self.keys) if self.is_text else mix64(self._numbers)
        order = np.argsort(hashes, kind="stable")
        hashes = hashes[order]
        bits = max(1, len(hashes).bit_length())
        shift = np.uint64(64 - bits)
        starts = np.zeros((1 << bits) + 1, np.int64)
        np.cumsum(np.bincount((hashes >> shift).view(np.int64), minlength=1 << bits), out=starts[1:])
        return hashes, order, starts, shift

    def _by_hash(self, wanted: npt.NDArray[np.uint64]) -> Int64:
        hashes, order, starts, shift = self._buckets
        bucket = (wanted >> shift).astype(np.int64)
        place, end = starts[bucket], starts[bucket + 1]
        found = np.full(len(wanted), -1, np.int64)
        rows = np.flatnonzero(place < end)
        while len(rows):
            here = place[rows]
            hit = hashes[here] == wanted[rows]
            found[rows[hit]] = order[here[hit]]
            rows = rows[~hit]
            place[rows] += 1
            rows = rows[place[rows] < end[rows]]
        return found
