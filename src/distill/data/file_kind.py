"""What kind of file a raw file is: by its suffix, else by its first bytes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal


@dataclass(frozen=True)
class FileKind:
    """How a raw file is read.

    Attributes:
        name: Of the format.
        delimiter: Between cells, of a table of text.
        compression: Arrow's name of the codec around a text file; the other formats compress inside.
    """

    name: Literal["Parquet", "Arrow", "ORC", "CSV", "JSON"]
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
_FIRST_BYTES = {b"PAR1": FileKind("Parquet"), b"ARROW1": FileKind("Arrow"), b"ORC": FileKind("ORC")}

KNOWN_FILES = f"{', '.join(_SUFFIXES)}; text also with {', '.join(s for s, codec in _COMPRESSIONS.items() if codec)}"
"""What is read, to be named in errors."""


def file_kind(path: Path) -> FileKind | None:
    """Returns the kind of a file, None if it is none that can be read.

    The suffix says it (`.csv`, `.csv.gz`, `.snappy.parquet`, `.parquet.gzip`); a file without a known one, such as
    `part-00000`, is looked into.
    """
    suffixes = [suffix.lower() for suffix in path.suffixes[-2:]]
    if suffixes and suffixes[-1] in _SUFFIXES:
        return _SUFFIXES[suffixes[-1]]
    if len(suffixes) == 2 and suffixes[1] in _COMPRESSIONS and suffixes[0] in _SUFFIXES:
        kind, codec = _SUFFIXES[suffixes[0]], _COMPRESSIONS[suffixes[1]]
        if kind.name not in ("CSV", "JSON"):
            return kind
        return replace(kind, compression=codec) if codec else None
    return _by_first_bytes(path)


def _by_first_bytes(path: Path) -> FileKind | None:
    try:
        with path.open("rb") as stream:
            start = stream.read(max(map(len, _FIRST_BYTES)))
    except OSError:
        return None
    return next((kind for mark, kind in _FIRST_BYTES.items() if start.startswith(mark)), None)
