"""Columns that stand in the names of folders: `date=2024-01-01/part-0.parquet`."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote

_NULL = "__HIVE_DEFAULT_PARTITION__"


def folder_columns(path: Path) -> dict[str, str | None]:
    """Returns the columns that the folders of a path name, with the text of their value; None is null."""
    pairs = (part.partition("=") for part in path.parts[:-1])
    return {unquote(key): None if value == _NULL else unquote(value) for key, equals, value in pairs if key and equals}
