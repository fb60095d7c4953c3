"""A table at one version: its columns, and the files whose rows are in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa

from distill.data.table_formats.named import TableName
from distill.errors import ConfigError, DataError
from distill.files import hash_bytes, hash_once


@dataclass(frozen=True)
class TablePart:
    """A file whose rows are in the table.

    Attributes:
        path: Where it is.
        rows: Those that are in the table: not the deleted ones.
        read: Streams some columns, as the table has them, of these rows in their order; a batch has about so many rows.
        marks: What says which rows and values it has beside its content: partition values, deletions.
    """

    path: Path
    rows: int
    read: Callable[[Sequence[str], int], Iterator[pa.RecordBatch]]
    marks: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Table:
    """A table at a version.

    Attributes:
        name: With the version.
        schema: Columns and their types, those of partitions too.
        parts: In the order of their paths.

    Raises:
        DataError: A file is not there.
    """

    name: TableName
    schema: pa.Schema
    parts: tuple[TablePart, ...]

    def __post_init__(self) -> None:
        for part in self.parts:
            if not part.path.is_file():
                raise DataError(
                    f"A file of the {self.name.format} table is not there.",
                    where=str(self.name.pinned),
                    expected="a local folder that is where it was written, with all files of the version",
                    found=str(part.path),
                    remedy="Name another version. Iceberg's metadata says where files are: do not move the folder.",
                )

    @cached_property
    def bytes(self) -> int:
        """Of the files whose rows are in it."""
        return sum(part.path.stat().st_size for part in self.parts)

    def described(self) -> dict[str, Any]:
        """Describes the version by names, sizes and hashes of its files, so that moving it changes nothing."""
        files = [
            {"name": part.path.name, "bytes": part.path.stat().st_size, "blake2b": hash_once(part.path), **part.marks}
            for part in self.parts
        ]
        content = hash_bytes(repr([str(self.schema), *files]).encode())
        of_table = {"format": self.name.format, "version": self.name.version, "files": files}
        return {"name": self.name.pinned.name, "bytes": self.bytes, "blake2b": content, "table": of_table}


def not_installed(name: TableName, package: str) -> ConfigError:
    """Builds the error of a table whose reader is not there."""
    article = "An" if name.format == "Iceberg" else "A"
    return ConfigError(
        f"{article} {name.format} table is read with the package {package}, which is not installed.",
        where=str(name.path),
        expected="the table's own reader: its folder also holds files whose rows are deleted or replaced",
        remedy=f"Install it: pip install 'distill-ranker[{name.format.lower()}]'.",
    )


def unreadable_table(name: TableName, found: object) -> DataError:
    """Builds the error of a table that its reader cannot open."""
    return DataError(
        f"The {name.format} table cannot be read.",
        where=str(name.pinned),
        found=f"{type(found).__name__}: {found}"[:300] if isinstance(found, Exception) else str(found),
        remedy="Check the table, and the version behind the @ if one is given.",
    )


def unsupported(name: TableName, found: str, remedy: str) -> DataError:
    """Builds the error of a table that needs something that is not read."""
    return DataError(
        f"The {name.format} table uses a feature that is not read here.",
        where=str(name.pinned),
        found=found,
        remedy=remedy,
    )
