"""Writes an array to an `.npy` file piece by piece, without knowing its length beforehand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt


class NpyWriter:
    """Appends rows `[n, …]` to a file that `numpy.load` reads.

    NumPy pads the header of a file so that it may be written again with another length.

    Args:
        path: The file.
        shape: Of a row.
        kind: Of the values.
    """

    def __init__(self, path: Path, shape: tuple[int, ...], kind: npt.DTypeLike) -> None:
        self._shape, self._kind = shape, np.dtype(kind)
        self._rows = 0
        self._stream = path.open("wb")
        self._header = self._write_header()

    def __enter__(self) -> NpyWriter:
        return self

    def __exit__(self, *raised: object) -> None:
        if raised[0] is None:
            self._stream.seek(0)
            assert self._write_header() == self._header
        self._stream.close()

    def append(self, rows: npt.NDArray[Any]) -> None:
        """Adds rows `[m, …]`."""
        assert rows.shape[1:] == self._shape
        self._stream.write(np.ascontiguousarray(rows, self._kind).tobytes())
        self._rows += len(rows)

    def _write_header(self) -> int:
        header = {
            "descr": np.lib.format.dtype_to_descr(self._kind),
            "fortran_order": False,
            "shape": (self._rows, *self._shape),
        }
        np.lib.format.write_array_header_1_0(self._stream, header)
        return self._stream.tell()
