"""Checksums of Parquet files, kept in one file beside them and compared with what is read.

Parquet's own page checksums leave out the page headers and the footer, and they cost a tenth of the reader's speed on
flat rows. These cover the footer and every column chunk with its headers, at about the speed of memory.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from io import BufferedReader
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from distill.errors import DataError
from distill.files import hash_bytes, hash_file
from distill.places.opened import opened
from distill.sealed import read_sealed, write_sealed

CHECKSUMS_FILE = "checksums.json"
MAGIC = b"PAR1"
_WIDTH = 512
_SLAB = 64  # rows that stay in the cache while they are summed twice
UInt64 = npt.NDArray[np.uint64]


@dataclass(frozen=True)
class FileChecksums:
    """Of one Parquet file.

    Attributes:
        blake2b: Hash of the whole file.
        footer: Hash of the footer, with its length and the magic bytes.
        chunks: Size and checksum of every column chunk, row group by row group: uint64 `[G, C, 2]` in base64.
    """

    blake2b: str
    footer: str
    chunks: str

    @classmethod
    def of(cls, path: Path) -> FileChecksums:
        """Computes the checksums of a file that was just written."""
        footer = read_footer(path)
        metadata = pq.read_metadata(pa.BufferReader(footer))
        found = np.zeros((metadata.num_row_groups, metadata.num_columns, 2), np.uint64)
        start = len(MAGIC)
        with ThreadPoolExecutor(1) as beside, path.open("rb") as file:
            whole = beside.submit(hash_file, path)
            for group in range(metadata.num_row_groups):
                for column in range(metadata.num_columns):
                    size = _size(metadata.row_group(group).column(column), start, path)
                    file.seek(start - start % 8)
                    found[group, column] = size, digest(memoryview(file.read(size + start % 8))[start % 8 :], start)
                    start += size
        return cls(whole.result(), hash_bytes(footer), base64.b64encode(found.astype("<u8").tobytes()).decode())

    def table(self, groups: int, columns: int) -> UInt64:
        """Returns size and checksum of the column chunks `[G, C, 2]`.

        Raises:
            ValueError: They are of so many row groups and columns.
        """
        raw = np.frombuffer(base64.b64decode(self.chunks), "<u8")
        return raw.astype(np.uint64).reshape(groups, columns, 2)


def _size(chunk: pq.ColumnChunkMetaData, start: int, path: Path) -> int:
    """Returns the bytes of a column chunk, which must start here: then no start needs to be kept."""
    pages = [chunk.data_page_offset]
    pages += [chunk.dictionary_page_offset] if chunk.has_dictionary_page else []
    if min(pages) != start:
        raise AssertionError(f"{path}: column chunks do not follow one another")
    return int(chunk.total_compressed_size)


def write_checksums(folder: Path, files: Mapping[str, FileChecksums]) -> None:
    """Writes the checksums of the files of a folder, by their names."""
    write_sealed(folder / CHECKSUMS_FILE, {"files": {name: asdict(found) for name, found in files.items()}})


def read_checksums(folder: Path) -> dict[str, FileChecksums]:
    """Reads what `write_checksums` wrote.

    Raises:
        DataError: It cannot be read, or is damaged.
    """
    path = folder / CHECKSUMS_FILE
    try:
        content: dict[str, Any] = read_sealed(path)
        return {name: FileChecksums(**found) for name, found in content["files"].items()}
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise DataError(
            "The checksums of files cannot be read.",
            where=str(path),
            found=str(error).splitlines()[0],
            remedy="Prepare (or score) the data again.",
        ) from error


def read_footer(path: Path) -> bytes:
    """Returns the footer of a Parquet file with its length and the magic bytes.

    Raises:
        OSError: The file cannot be read, or is none.
    """
    end = 4 + len(MAGIC)
    with BufferedReader(opened(path)) as file:
        size = file.seek(0, 2)
        if size >= end:
            file.seek(size - end)
            tail = file.read(end)
            length = int.from_bytes(tail[:4], "little") + end
            if tail[4:] == MAGIC and length <= size:
                file.seek(size - length)
                return file.read(length)
    raise OSError(f"the end of the file is not a Parquet footer ({size} bytes in all)")


def digest(raw: memoryview, start: int) -> int:
    """Returns two CRC-32: of the sums of the rows, and of the columns, of the data as a matrix of 64-bit words.

    CRC-32 alone costs three times as much. Any damage within one word changes a sum of a row and one of a column; words
    that change places within a row change column sums, beyond it row sums too. To go unseen, damage must keep all sums
    of rows and of columns (four changes at the corners of a rectangle that cancel), or hit both CRC-32 by chance. What
    does not fill a row, and data of less than a row (4 KiB), goes into the CRC-32 as it is. It protects from accidents,
    not from forgery.

    Args:
        raw: The bytes.
        start: Their place in the file: words begin at multiples of eight there. They should do in memory too.
    """
    lead = min(-start % 8, len(raw))
    rows = (len(raw) - lead) // (8 * _WIDTH)
    ends = zlib.crc32(raw[lead + 8 * _WIDTH * rows :], zlib.crc32(raw[:lead]))
    if not rows:
        return ends
    words = np.frombuffer(raw, "<u8", rows * _WIDTH, lead).reshape(rows, _WIDTH)
    of_rows, of_columns = np.empty(rows, "<u8"), np.zeros(_WIDTH, "<u8")
    for first in range(0, rows, _SLAB):
        slab = words[first : first + _SLAB]
        np.add.reduce(slab, axis=1, out=of_rows[first : first + _SLAB])
        of_columns += np.add.reduce(slab, axis=0)
    return zlib.crc32(of_rows.tobytes(), ends) << 32 | zlib.crc32(of_columns.tobytes(), ends)
