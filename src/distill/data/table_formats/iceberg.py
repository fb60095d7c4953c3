"""Iceberg tables, read by `pyiceberg`: the files of a snapshot, without deleted rows, with columns by their ids."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from distill.data.table_formats.named import TableName, metadata_files
from distill.data.table_formats.table import Table, TablePart, not_installed, unreadable_table
from distill.errors import DataError

_LOCAL = re.compile(r"^file:(//)?")
_NUMBER = re.compile(r"v?(\d+)\D.*")


def open_iceberg(name: TableName) -> Table:
    """Opens an Iceberg table by its newest metadata file, or by the one that is named.

    Raises:
        ConfigError: The package `pyiceberg` is not installed.
        DataError: It cannot be read, is empty, has deletions by value, or two metadata files are the newest.
    """
    try:
        from pyiceberg.io.pyarrow import ArrowScan, schema_to_pyarrow
        from pyiceberg.table import StaticTable
    except ImportError as error:
        raise not_installed(name, "pyiceberg") from error
    metadata = name.path if name.path.is_file() else _newest(name)
    try:
        table = StaticTable.from_metadata(str(metadata.absolute()))
        version = name.version if name.version is not None else _current(name, table)
        scan = table.scan(snapshot_id=version)
        projection = scan.projection()
        schema = schema_to_pyarrow(projection, include_field_ids=False)
        tasks = sorted(scan.plan_files(), key=lambda task: task.file.file_path)
        readers = [_Reader(ArrowScan, table, projection, scan.row_filter, task) for task in tasks]
        parts = tuple(reader.part() for reader in readers)
    except DataError:
        raise
    except Exception as error:  # of the package, of its file systems, of pydantic
        raise unreadable_table(name, error) from error
    return Table(replace(name, version=version), schema, parts)


def _newest(name: TableName) -> Path:
    """Returns the metadata file with the highest number: of `v3.metadata.json` and `00003-….metadata.json` 3."""
    numbered: dict[int, list[Path]] = {}
    for path in sorted(metadata_files(name.path)):
        match = _NUMBER.fullmatch(path.name)
        numbered.setdefault(int(match[1]) if match else -1, []).append(path)
    newest = numbered[max(numbered)]
    if len(newest) > 1:
        raise DataError(
            "The newest metadata of the Iceberg table cannot be determined.",
            where=str(name.path),
            expected="one file with the highest number",
            found=", ".join(path.name for path in newest[:5]),
            remedy="Name the one that the catalog names as the source, in place of the folder.",
        )
    return newest[0]


def _current(name: TableName, table: Any) -> int:
    snapshot = table.current_snapshot()
    if snapshot is None:
        raise unreadable_table(name, "a table without a snapshot: nothing was written to it")
    return int(snapshot.snapshot_id)


@dataclass(frozen=True)
class _Reader:
    """Reads a file of a snapshot.

    Attributes:
        scan: The package's `ArrowScan`.
        table: The package's table.
        projection: Columns of the snapshot.
        everything: The package's condition that all rows meet.
        task: The package's file with its deletions.
    """

    scan: Any
    table: Any
    projection: Any
    everything: Any
    task: Any

    def part(self) -> TablePart:
        file, deletions = self.task.file, sorted(file.file_path for file in self.task.delete_files)
        rows = int(file.record_count)
        if deletions:
            rows = sum(batch.num_rows for batch in self.batches(self.projection.column_names[:1], rows))
        marks = {"deletions": [_local(path).name for path in deletions]} if deletions else {}
        return TablePart(_local(file.file_path), rows, self.batches, marks)

    def batches(self, columns: Sequence[str], rows: int) -> Iterator[pa.RecordBatch]:
        """The package reads the columns of a whole file at once."""
        selected = self.projection.select(*columns)
        reader = self.scan(self.table.metadata, self.table.io, selected, self.everything)
        for batch in reader.to_record_batches([self.task]):
            for start in range(0, batch.num_rows, rows):
                yield batch.select(list(columns)).slice(start, rows)


def _local(uri: str) -> Path:
    """Returns the path of a local file: what Iceberg writes into its metadata is not an encoded URL."""
    return Path(_LOCAL.sub("", uri))
