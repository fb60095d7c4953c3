"""Counts distinct values of a stream of arrays; how the stream was cut into arrays does not matter."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from distill.encodings.arrow import Bool, Int64, combine
from distill.encodings.found_before import NUMBER, FoundBefore

_FEWEST = 1 << 17


class ValueCounter:
    """Counts distinct values; memory is bounded by their number.

    Args:
        found: Remembers the number of every value, in the order in which values came first.
    """

    def __init__(self, found: FoundBefore | None = None) -> None:
        self.found = found
        self._values: pa.Array | None = None
        self._counts: Int64 = np.zeros(0, np.int64)
        self._pending: list[tuple[pa.Array, Int64]] = []
        self._pending_rows = 0

    def add(self, values: pa.Array, keep: Bool) -> None:
        """Counts the values of an array of int64 or text `[n]` where `keep [n]`; nulls are left out."""
        if values.null_count == len(values):
            return
        distinct = values.dictionary_encode()
        size = len(distinct.dictionary)
        numbers = pc.fill_null(distinct.indices, size).to_numpy(zero_copy_only=False)
        kept = numbers if keep.all() else numbers.take(np.flatnonzero(keep))
        self._append(distinct.dictionary, np.bincount(kept, minlength=size + 1)[:size])

    def add_counted(self, values: pa.Array, counts: Int64) -> None:
        """Counts values of text without nulls `[n]`, each so many times `[n]`."""
        distinct = values.dictionary_encode()
        numbers = distinct.indices.to_numpy(zero_copy_only=False)
        self._append(distinct.dictionary, _sums(numbers, counts, len(distinct.dictionary)))

    def absorb(self, other: ValueCounter) -> None:
        """Counts what another one counted."""
        table = other.result()
        self._append(combine(table["value"]), combine(table["count"]).to_numpy(zero_copy_only=False))

    def __getstate__(self) -> dict[str, Any]:
        """Sends each value once: not what is still to be merged."""
        self._merge()
        return self.__dict__

    def result(self) -> pa.Table:
        """Returns columns `value`, `count` and `number` (the place of the value among all that came), in no particular
        order; int64 values if there were none."""
        self._merge()
        values = pa.array([], pa.int64()) if self._values is None else self._values
        numbers = np.arange(len(values), dtype=np.int64)
        table = pa.table({"value": values, "count": pa.array(self._counts), NUMBER: pa.array(numbers)})
        return table if (self._counts > 0).all() else table.filter(pa.array(self._counts > 0))

    def _append(self, values: pa.Array, counts: Int64) -> None:
        if len(values) == 0:  # of values of no type
            return
        self._pending.append((values, counts))
        self._pending_rows += len(values)
        if self._pending_rows > max(_FEWEST, 2 * len(self._counts)):
            self._merge()

    def _merge(self) -> None:
        if not self._pending:
            return
        lists = [values for values, _ in self._pending]
        known = [] if self._values is None else [self._values]
        whole = pa.chunked_array([*known, *lists]).dictionary_encode()
        numbers = [chunk.indices.to_numpy(zero_copy_only=False) for chunk in whole.chunks]
        self._values = whole.chunk(whole.num_chunks - 1).dictionary
        counts = np.concatenate([self._counts, *(counts for _, counts in self._pending)])
        self._counts = _sums(np.concatenate(numbers), counts, len(self._values))
        if self.found is not None:
            self.found.keep(lists, numbers[len(known) :])
        self._pending, self._pending_rows = [], 0


def _sums(numbers: np.ndarray, counts: Int64, size: int) -> Int64:
    """Adds up the counts of equal numbers; exact up to 2⁵³."""
    return np.bincount(numbers, weights=counts, minlength=size).astype(np.int64)
