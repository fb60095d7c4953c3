"""What kind of file a raw file is: by its suffix, else by its first bytes."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import pyarrow as pa

from distill.data.table_formats.named import table_named


@dataclass(frozen=True)
class FileKind:
    """How a raw file, or a table, is read.

    Attributes:
        name: Of the format.
        delimiter: Between cells, of a table of text.
        compression: Arrow's name of the codec around a text file; the other formats compress inside.
    """

    name: Literal["Parquet", "Arrow", "ORC", "CSV", "JSON", "Delta", "Iceberg"]
    delimiter: str = ""
    compression: str | None = None


_SUFFIXES = {
    ".parquet": FileKind("Parquet"),
    ".pq": FileKind("Parquet"),
    ".csv": FileKind("CSV", ","),
    ".tsv": FileKind("CSV", "\t"),
    ".tab": FileKind("CSV", "\t"),
    ".jsonl": FileKind("JSON"),
    ".ndjson": FileKind("JSON"),
    ".feather": FileKind("Arrow"),
    ".arrow": FileKind("Arrow"),
    ".ipc": FileKind("Arrow"),
    ".orc": FileKind("ORC"),
    ".json": FileKind("JSON"),
}
_COMPRESSIONS = {
    ".gz": "gzip",
    ".gzip": "gzip",
    ".bz2": "bz2",
    ".zst": "zstd",
    ".zstd": "zstd",
    ".lz4": "lz4",
    ".snappy": None,
}
_START_BYTES = 1 << 20
_FIRST_BYTES = {b"PAR1": FileKind("Parquet"), b"ARROW1": FileKind("Arrow"), b"ORC": FileKind("ORC")}

_CODECS = ", ".join(suffix for suffix, codec in _COMPRESSIONS.items() if codec)
KNOWN_FILES = f"{', '.join(_SUFFIXES)} (of lines, an object each); text also with {_CODECS}"
"""What is read, to be named in errors."""


def file_kind(path: Path) -> FileKind | None:
    """Returns the kind of a file, None if it is none that can be read.

    The suffix says it (`.csv`, `.csv.gz`, `.snappy.parquet`, `.parquet.gzip`); a file without a known one, such as
    `part-00000`, is looked into, and so is `.json`, which is read if it holds JSON lines: at least two, an object each.
    A folder is of a kind if it holds a table.
    """
    if (table := table_named(path)) is not None:
        return FileKind(table.format)
    kind = _by_name(path)
    if kind is not None and kind.name == "JSON" and ".json" in map(str.lower, path.suffixes[-2:]):
        return kind if _holds_json_lines(path, kind.compression) else None
    return kind


def _by_name(path: Path) -> FileKind | None:
    suffixes = [suffix.lower() for suffix in path.suffixes[-2:]]
    if suffixes and suffixes[-1] in _SUFFIXES:
        return _SUFFIXES[suffixes[-1]]
    if len(suffixes) == 2 and suffixes[1] in _COMPRESSIONS and suffixes[0] in _SUFFIXES:
        kind, codec = _SUFFIXES[suffixes[0]], _COMPRESSIONS[suffixes[1]]
        if kind.name not in ("CSV", "JSON"):
            return kind
        return replace(kind, compression=codec) if codec else None
    return _by_first_bytes(path)


def _holds_json_lines(path: Path, compression: str | None) -> bool:
    try:
        with pa.input_stream(str(path), compression=compression) as stream:
            first, *others = filter(None, map(bytes.strip, stream.read(_START_BYTES).split(b"\n")))
        return bool(others) and others[0].startswith(b"{") and isinstance(json.loads(first), dict)
    except (OSError, ValueError):  # Arrow's errors are kinds of these
        return False


def _by_first_bytes(path: Path) -> FileKind | None:
    try:
        with path.open("rb") as stream:
            start = stream.read(max(map(len, _FIRST_BYTES)))
    except OSError:
        return None
    return next((kind for mark, kind in _FIRST_BYTES.items() if start.startswith(mark)), None)
