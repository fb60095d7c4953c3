"""Criteo's display advertising challenge (Kaggle, 2014): seven days of ads, 13 counts and 26 hashed categories."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from distill.data.datasets.archives.source import Written
from distill.data.datasets.archives.tables import archive_file, text_blocks, write_blocks

_ARCHIVE = "dac.tar.gz of the Criteo display advertising challenge"
_NUMBERS = [f"I{i}" for i in range(1, 14)]
_CATEGORIES = [f"C{i}" for i in range(1, 27)]
_TYPES = {"label": pa.int8(), **dict.fromkeys(_NUMBERS, pa.float64()), **dict.fromkeys(_CATEGORIES, pa.string())}


@dataclass(frozen=True)
class Criteo:
    """`train.txt`: tab-separated, without a header, in the order of time; blanks are missing.

    The rows have no times, so that their number stands for it (`row`). The challenge's `test.txt` has no labels.
    """

    name = "criteo"
    apart = ()

    def columns(self) -> Sequence[str]:
        """`row` and the 40 columns of the file."""
        return ["row", *_TYPES]

    def files(self, folder: Path) -> Sequence[Path]:
        """Finds `train.txt`; the folder may be the file itself."""
        return [folder if folder.is_file() else archive_file(folder, "train.txt", _ARCHIVE)]

    def write(self, folder: Path, directory: Path) -> Written:
        """Numbers the rows."""
        (path,) = self.files(folder)
        return Written((write_blocks(_numbered(path), directory / "train.parquet", path),))


def _numbered(path: Path) -> Iterator[pa.Table]:
    row = 0
    for block in text_blocks(path, _TYPES, _ARCHIVE, delimiter="\t", header=list(_TYPES)):
        yield block.add_column(0, "row", pa.array(np.arange(row, row + len(block))))
        row += len(block)
