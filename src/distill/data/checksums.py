"""Checksums of Parquet files, kept in one file beside them and compared with what is read.

Parquet's own page checksums leave out the page headers and the footer, and they cost a tenth of the reader's speed on
flat rows. These cover the footer and every column chunk with its headers, at about the speed of memory.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from distill.data.files import hash_bytes, hash_file
from distill.data.sealed import read_sealed, write_sealed
from distill.errors import DataError

CHECKSUMS_FILE = "checksums.json"
MAGIC = b"PAR1"
_WORDS = 4096
UInt64 = npt.NDArray[np.uint64]
_WEIGHTS = [np.random.PCG64(level).random_raw(_WORDS) | np.uint64(1) for level in range(3)]
_TAIL, _LENGTH = (int(weight) for weight in np.random.PCG64(3).random_raw(2) | np.uint64(1))


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
        with pa.OSFile(str(path)) as file:
            file.seek(len(MAGIC))
            for group in range(metadata.num_row_groups):
                for column in range(metadata.num_columns):
                    size = _size(metadata.row_group(group).column(column), file.tell(), path)
                    found[group, column] = size, digest(file.read_buffer(size))
        return cls(hash_file(path), hash_bytes(footer), base64.b64encode(found.astype("<u8").tobytes()).decode())

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
    except (OSError, ValueError) as error:
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
    with path.open("rb") as file:
        size = file.seek(0, 2)
        if size >= end:
            file.seek(size - end)
            tail = file.read(end)
            length = int.from_bytes(tail[:4], "little") + end
            if tail[4:] == MAGIC and length <= size:
                file.seek(size - length)
                return file.read(length)
    raise OSError(f"the end of the file is no Parquet footer ({size} bytes in all)")


def digest(data: pa.Buffer) -> int:
    """Returns Σ w_i x_i mod 2⁶⁴ over the 64-bit words of the data, with fixed odd weights.

    An odd weight is invertible: a change within one word always changes the sum, wherever it is. Any other damage goes
    unseen with a probability of about 2⁻⁶³. It protects from accidents, not from forgery. The weight of a word is a
    product of weights of its place in a block, of the block in blocks, and so on, so that the sum is one of inner
    products at the speed of memory.

    Reference: Lemire and Kaser, "Strongly Universal String Hashing is Fast", The Computer Journal 2014,
    arXiv:1202.4961 (MULTILINEAR; here with odd weights, modulo 2⁶⁴, and in levels).
    """
    whole = data.size // 8
    words = np.frombuffer(data, "<u8", whole) if whole else np.zeros(0, np.uint64)
    for weights in _WEIGHTS:
        words = _fold(words, weights)
        if words.size == 1:
            break
    tail = int.from_bytes(data[8 * whole :].to_pybytes(), "little")
    return (int(words[0]) + tail * _TAIL + data.size * _LENGTH) % 2**64


def _fold(words: UInt64, weights: UInt64) -> UInt64:
    """Turns every block of words into one, the rest into another."""
    blocks = words.size // _WORDS
    rest = words[blocks * _WORDS :]
    last = np.dot(rest, weights[: rest.size])
    if blocks == 0:
        return np.array([last], np.uint64)
    return np.append(words[: blocks * _WORDS].reshape(blocks, _WORDS) @ weights, last)
