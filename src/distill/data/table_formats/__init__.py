"""Tables that a log of changes makes of files: Delta Lake's and Iceberg's, read as they are at one version."""

from __future__ import annotations

from functools import cache

from distill.data.table_formats.delta import open_delta
from distill.data.table_formats.iceberg import open_iceberg
from distill.data.table_formats.named import TableName, table_named
from distill.data.table_formats.table import Table, TablePart

__all__ = ["Table", "TableName", "TablePart", "open_table", "table_named"]


def open_table(name: TableName) -> Table:
    """Opens a table at the version that is named, or at its newest one.

    Raises:
        ConfigError: The package that reads it is not installed.
        DataError: It cannot be read, has no such version, or needs what is not read.
    """
    if name.version is None:
        return _open(name)
    return _open_version(name)


@cache
def _open_version(name: TableName) -> Table:
    """Opens a version once: it never changes, and its log may be long."""
    return _open(name)


def _open(name: TableName) -> Table:
    return open_delta(name) if name.format == "Delta" else open_iceberg(name)
