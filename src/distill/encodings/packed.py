"""Encodings with the bytes of their files, each of which must be the one that was fitted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from distill.encodings.saved import SavedEncodings
from distill.errors import DataError
from distill.files import hash_bytes


@dataclass(frozen=True)
class PackedEncodings:
    """Encodings with the content of their files, as a checkpoint holds them.

    Attributes:
        saved: As plain data.
        files: Path of each vocabulary's and each tokenizer's file to its bytes.
    """

    saved: SavedEncodings
    files: Mapping[str, bytes]

    @classmethod
    def read(cls, root: Path, saved: SavedEncodings) -> PackedEncodings:
        """Reads the files below a folder.

        Raises:
            DataError: One is not there, or is not what was written.
        """
        return cls(saved, {name: read_verified(root / name, digest) for name, digest in saved.files.items()})

    def write(self, root: Path) -> None:
        """Writes the files below a folder."""
        for name, content in self.files.items():
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)


def read_verified(path: Path, digest: str) -> bytes:
    """Reads a file of known content.

    Raises:
        DataError: It is not there, or is not what was written.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise _other(str(path), digest, "no file" if isinstance(error, FileNotFoundError) else str(error)) from error
    return verified(content, digest, str(path))


def verified(content: bytes, digest: str, where: str) -> bytes:
    """Returns the content of a file of encodings.

    Raises:
        DataError: It is not what was written.
    """
    found = hash_bytes(content)
    if found != digest:
        raise _other(where, digest, f"blake2b {found}")
    return content


def _other(where: str, digest: str, found: str) -> DataError:
    return DataError(
        "A file of the encodings is not the one that was fitted.",
        where=where,
        expected=f"blake2b {digest}",
        found=found,
        remedy="Prepare the data again, or restore the file.",
    )
