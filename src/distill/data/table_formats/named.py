"""What a path says of a table: its folder, its format, and perhaps a version behind an @."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

TableFormat = Literal["Delta", "Iceberg"]
METADATA = ".metadata.json"
_AT_VERSION = re.compile(r"(?P<path>.+)@(?P<version>\d+)", re.DOTALL)


@dataclass(frozen=True)
class TableName:
    """A table.

    Attributes:
        path: Its folder; of an Iceberg table perhaps one of its metadata files.
        format: What wrote it.
        version: Delta's version or Iceberg's snapshot; None is the newest.
    """

    path: Path
    format: TableFormat
    version: int | None = None

    @property
    def pinned(self) -> Path:
        """The path that names the table at its version."""
        return self.path if self.version is None else Path(f"{self.path}@{self.version}")


def table_named(path: Path) -> TableName | None:
    """Returns the table that `FOLDER` or `FOLDER@VERSION` names; None if it names none."""
    if (found := _format_of(path)) is not None:
        return TableName(path, found)
    match = _AT_VERSION.fullmatch(str(path))
    if match is None or (found := _format_of(Path(match["path"]))) is None:
        return None
    return TableName(Path(match["path"]), found, int(match["version"]))


def metadata_files(folder: Path) -> Iterator[Path]:
    """Returns the metadata files of an Iceberg table."""
    return (folder / "metadata").glob(f"*{METADATA}")


def _format_of(path: Path) -> TableFormat | None:
    if path.is_dir():
        if (path / "_delta_log").is_dir():
            return "Delta"
        return "Iceberg" if any(metadata_files(path)) else None
    return "Iceberg" if path.name.endswith(METADATA) and path.is_file() else None
