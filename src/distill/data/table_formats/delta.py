"""Delta Lake tables, whose log `deltalake` reads: the files of a version, partition values and deleted rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from distill.data.table_formats.named import TableName
from distill.data.table_formats.table import Table, TablePart, not_installed, unreadable_table, unsupported
from distill.files import hash_bytes

# Of these the log is read by `deltalake`, deleted rows by their vectors, types by Arrow.
_READ_FEATURES = {"deletionVectors", "timestampNtz", "v2Checkpoint", "vacuumProtocolCheck", "columnMapping"}


def open_delta(name: TableName) -> Table:
    """Opens a Delta Lake table.

    Raises:
        ConfigError: The package `deltalake` is not installed.
        DataError: It cannot be read, or maps columns to other names, or has another feature that is not read.
    """
    try:
        from deltalake import DeltaTable
        from deltalake.exceptions import DeltaError
    except ImportError as error:
        raise not_installed(name, "deltalake") from error
    try:
        table = DeltaTable(name.path, version=name.version)
        schema = pa.schema(table.schema().to_arrow())
        _check_features(name, table)
        actions = pa.table(table.get_add_actions())
        kept = _kept_rows(table)
        paths = list(map(_local, table.file_uris()))
    except (pa.ArrowException, OSError, ValueError, DeltaError) as error:
        raise unreadable_table(name, error) from error
    values = actions["partition"].to_pylist() if "partition" in actions.column_names else [{}] * len(paths)
    readers = [
        _Reader(path, schema, of_file, kept.get(path))
        for path, of_file in sorted(zip(paths, values, strict=True), key=lambda pair: pair[0])
    ]
    try:
        parts = tuple(reader.part() for reader in readers)
    except (pa.ArrowException, OSError) as error:
        raise unreadable_table(name, error) from error
    return Table(replace(name, version=table.version()), schema, parts)


def _check_features(name: TableName, table: Any) -> None:
    mapping = table.metadata().configuration.get("delta.columnMapping.mode", "none")
    if mapping != "none":
        raise unsupported(
            name, f"columns that files name otherwise (delta.columnMapping.mode={mapping})", "Write the table anew."
        )
    needed = set(table.protocol().reader_features or ()) - _READ_FEATURES
    if needed:
        raise unsupported(name, ", ".join(sorted(needed)), "Write the table anew without it, or export it as Parquet.")


def _kept_rows(table: Any) -> dict[Path, npt.NDArray[np.bool_]]:
    """Returns which rows of a file are in the table, of the files that have deleted ones."""
    found = pa.RecordBatchReader.from_stream(table.deletion_vectors()).read_all()
    masks = (np.asarray(mask.values) for mask in found["selection_vector"])
    return dict(zip(map(_local, found["filepath"].to_pylist()), masks, strict=True))


def _local(uri: str) -> Path:
    return Path(unquote(urlsplit(uri).path)) if uri.startswith("file:") else Path(uri)


@dataclass(frozen=True)
class _Reader:
    """Reads a file of a table.

    Attributes:
        path: Where it is.
        schema: Of the table: columns that the file does not have are null.
        values: Partition column to its value in all rows.
        kept: Which rows are in the table `[n]`; those behind the last one are; None is all.
    """

    path: Path
    schema: pa.Schema
    values: Mapping[str, Any]
    kept: npt.NDArray[np.bool_] | None

    def part(self) -> TablePart:
        rows = self._dataset().count_rows()
        marks: dict[str, Any] = {"partition": {name: str(value) for name, value in self.values.items()}}
        if self.kept is not None:
            rows -= int(np.count_nonzero(~self.kept))
            marks["kept"] = hash_bytes(np.packbits(self.kept).tobytes())
        return TablePart(self.path, rows, self.batches, marks)

    def batches(self, columns: Sequence[str], rows: int) -> Iterator[pa.RecordBatch]:
        row = 0
        for batch in self._dataset().to_batches(columns=list(columns), batch_size=rows):
            yield batch if self.kept is None else batch.filter(pa.array(self._kept(row, batch.num_rows)))
            row += batch.num_rows

    def _kept(self, row: int, number: int) -> npt.NDArray[np.bool_]:
        assert self.kept is not None
        own = self.kept[row : row + number]
        return np.pad(own, (0, number - len(own)), constant_values=True)

    def _dataset(self) -> ds.FileSystemDataset:
        kinds = {name: self.schema.field(name).type for name in self.values}
        equal = [_is(name, pa.scalar(value, kinds[name])) for name, value in self.values.items()]
        form = ds.ParquetFileFormat()
        fragment = form.make_fragment(
            str(self.path), pa.fs.LocalFileSystem(), reduce(lambda one, other: one & other, equal, pc.scalar(True))
        )
        return ds.FileSystemDataset([fragment], self.schema, form, pa.fs.LocalFileSystem())


def _is(name: str, value: pa.Scalar) -> pc.Expression:
    return pc.field(name) == value if value.is_valid else pc.field(name).is_null()
