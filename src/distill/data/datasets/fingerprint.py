"""A fingerprint of input files that changes when their content does and is cheap on large ones."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path

from distill.data.table_formats import open_table, table_named

WHOLE_FILE_BYTES = 64 << 20
_SAMPLE_BYTES = 4 << 20


def fingerprint_files(files: Iterable[Path], root: Path) -> str:
    """Hashes names below `root`, sizes and contents of files (32 hex digits); of tables those at their version.

    Files up to 64 MiB are read whole. Of larger ones the first, middle and last 4 MiB and the time of the last change
    (in nanoseconds) are hashed: a copy of a large file may count as new data, an edit never goes unnoticed unless it
    keeps the size, all three samples and the time.
    """
    digest = hashlib.blake2b(digest_size=16)
    for path in sorted(files):
        table = table_named(path)
        if table is None:
            _add_file(digest, path, os.path.relpath(path, root))
            continue
        opened = open_table(table)
        digest.update(f"{table.format}\0{table.version}\0{opened.schema}\0".encode())
        for part in opened.parts:
            _add_file(digest, part.path, f"{part.path.name}\0{part.marks}")
    return digest.hexdigest()


def _add_file(digest: hashlib.blake2b, file: Path, name: str) -> None:
    status = file.stat()
    digest.update(os.fsencode(f"{name}\0{status.st_size}\0"))
    if status.st_size <= WHOLE_FILE_BYTES:
        _add(digest, file, 0, status.st_size)
        return
    digest.update(f"{status.st_mtime_ns}\0".encode())
    for start in (0, status.st_size // 2, status.st_size - _SAMPLE_BYTES):
        _add(digest, file, start, _SAMPLE_BYTES)


def _add(digest: hashlib.blake2b, file: Path, start: int, size: int) -> None:
    with file.open("rb") as stream:
        stream.seek(start)
        left = size
        while left > 0 and (chunk := stream.read(min(left, 1 << 20))):
            digest.update(chunk)
            left -= len(chunk)
