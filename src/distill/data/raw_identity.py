"""What is known of a raw file, or of a table at a version, without a look at its rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from distill.data.table_formats import open_table, table_named
from distill.files import hash_file


def raw_bytes(path: Path) -> int:
    """Returns the bytes of a raw file, or of all files whose rows are in a table."""
    table = table_named(path)
    return path.stat().st_size if table is None else open_table(table).bytes


def described(path: Path) -> dict[str, Any]:
    """Describes a raw file by name, size and hash; a table also by its version and its files."""
    table = table_named(path)
    if table is not None:
        return open_table(table).described()
    return {"name": path.name, "bytes": path.stat().st_size, "blake2b": hash_file(path)}


def stamp(path: Path) -> list[str | int]:
    """Returns what changes when a raw file does, at no cost: size and time (ns). A table at a version never does."""
    if table_named(path) is not None:
        return [str(path)]
    status = path.stat()
    return [str(path), status.st_size, status.st_mtime_ns]
