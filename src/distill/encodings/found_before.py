"""Where lists of values stand in a vocabulary, kept from when they were counted: whoever asks again need not search.

The second pass of preparation meets the same lists of distinct values, chunk by chunk, as the first one that counted
them. A list is known by a hash of its content, so that a chunk that is cut otherwise, or has changed, is not found.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from distill.encodings.arrow import Int64

Int32 = npt.NDArray[np.int32]
NUMBER = "number"  # column of the numbers in a table of counted values
_BYTES = np.dtype(np.int32).itemsize


class FoundBefore:
    """Remembers the numbers of values, in a file: 4 bytes for each value of each list.

    Args:
        path: Of the file, which need not be there.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lists: dict[bytes, tuple[int, int]] = {}
        self._held = self._count = 0
        self._places: Int64 = np.zeros(0, np.int64)

    def keep(self, lists: Sequence[pa.Array], numbers: Sequence[Int32]) -> None:
        """Remembers lists of distinct values, int64 or string without nulls, and the number of each value."""
        with self._path.open("ab") as file:
            for values, own in zip(lists, numbers, strict=True):
                self._count = max(self._count, 1 + int(own.max(initial=-1)))
                if self._lists.setdefault(_content(values), (self._held, len(own)))[0] == self._held:
                    own.astype(np.int32, copy=False).tofile(file)
                    self._held += len(own)

    def settle(self, numbers: Int64) -> None:
        """Says which numbers the values of the vocabulary have, in their order there `[n]`."""
        self._places = np.full(self._count, -1, np.int64)
        self._places[numbers] = np.arange(len(numbers))

    def find(self, values: pa.Array) -> Int64 | None:
        """Returns the place of each value, -1 of one that is not there; None if this list was not counted."""
        start, size = self._lists.get(_content(values), (0, -1))
        if size < 0:
            return None
        return self._places.take(np.fromfile(self._path, np.int32, size, offset=_BYTES * start))


def _content(values: pa.Array) -> bytes:
    """Hashes the type and the values of a list."""
    *_, data = values.buffers()
    start, end = values.offset, values.offset + len(values)
    digest = hashlib.blake2b(str(values.type).encode(), digest_size=16)
    if pa.types.is_string(values.type):
        offsets = np.frombuffer(values.buffers()[1], np.int32, end - start + 1, _BYTES * start)
        digest.update((offsets - offsets[0]).data)
        start, end = int(offsets[0]), int(offsets[-1])
    else:
        start, end = start * values.type.byte_width, end * values.type.byte_width
    if end > start:
        digest.update(memoryview(data)[start:end])
    return digest.digest()
