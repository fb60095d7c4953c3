"""Raw files as one stream of record batches, with the place of every row."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from distill.data.prepare.arrow import common_type, plain_type, to_plain, with_readable_names
from distill.data.prepare.csv_file import CSV_SUFFIXES, CsvFile
from distill.data.prepare.place import Place
from distill.errors import DataError

BATCH_BYTES = 1 << 27
_BATCH_ROWS = 1 << 18
_EXPANSION = 4


class RawFile(Protocol):
    """One raw file."""

    path: Path

    @property
    def num_rows(self) -> int:
        """Rows."""
        ...

    @property
    def schema(self) -> pa.Schema:
        """Columns and their Arrow types as stored."""
        ...

    def memory(self, columns: Sequence[str]) -> int:
        """Estimates the bytes of some columns in memory."""
        ...

    def batches(
        self, columns: Sequence[str], batch_bytes: int, dictionaries: Sequence[str] = ()
    ) -> Iterator[pa.RecordBatch]:
        """Streams some columns in batches of about so many bytes at most; `dictionaries` may come as such."""
        ...

    def locate(self, row: int) -> str:
        """Names a row of the file."""
        ...


class ParquetFile:
    """A Parquet file; holds its footer, not its data."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with pq.ParquetFile(path) as file:
                self._metadata = file.metadata
                self._schema = with_readable_names(file.schema_arrow)
        except (pa.ArrowException, OSError) as error:
            raise unreadable(path, error) from error

    @property
    def num_rows(self) -> int:
        """Rows."""
        return int(self._metadata.num_rows)

    @property
    def schema(self) -> pa.Schema:
        """Columns and their Arrow types."""
        return self._schema

    @cached_property
    def _row_group_starts(self) -> list[int]:
        rows = [self._metadata.row_group(g).num_rows for g in range(self._metadata.num_row_groups)]
        return [0, *np.cumsum(rows).tolist()]

    def memory(self, columns: Sequence[str]) -> int:
        """Estimates the bytes of some columns in memory."""
        wanted, total = set(columns), 0
        for group in range(self._metadata.num_row_groups):
            meta = self._metadata.row_group(group)
            chunks = (meta.column(i) for i in range(meta.num_columns))
            total += sum(c.total_uncompressed_size for c in chunks if c.path_in_schema.split(".")[0] in wanted)
        return max(_EXPANSION * total, 16 * len(wanted) * self.num_rows)

    def batches(
        self, columns: Sequence[str], batch_bytes: int, dictionaries: Sequence[str] = ()
    ) -> Iterator[pa.RecordBatch]:
        """Streams some columns, row group by row group, in batches of about so many bytes at most.

        Args:
            columns: Which.
            batch_bytes: About the most that a batch takes in memory.
            dictionaries: Columns that come as dictionaries if they are text.

        Raises:
            DataError: A row group cannot be read.
        """
        row_bytes = self.memory(columns) // max(1, self.num_rows)
        rows = int(np.clip(batch_bytes // max(1, row_bytes), 64, _BATCH_ROWS))
        group = 0
        text = [name for name in dictionaries if pa.types.is_string(self._schema.field(name).type)]
        try:
            with pq.ParquetFile(self.path, read_dictionary=text) as file:
                for group in range(self._metadata.num_row_groups):
                    left = self._metadata.row_group(group).num_rows
                    for batch in file.iter_batches(batch_size=rows, row_groups=[group], columns=list(columns)):
                        left -= batch.num_rows
                        yield batch
                    if left:  # Arrow ends early, without an error, when a column holds fewer rows than the footer says
                        raise pa.ArrowInvalid(
                            f"{abs(left)} rows {'fewer' if left > 0 else 'more'} than the footer says"
                        )
        except (pa.ArrowException, OSError) as error:
            raise unreadable(self.path, error, f", row group {group}") from error

    def locate(self, row: int) -> str:
        """Names a row of the file."""
        group = bisect_right(self._row_group_starts, row) - 1
        return f"{self.path}, row group {group}, row {row - self._row_group_starts[group]}"


@dataclass(frozen=True)
class RawBatch:
    """Some columns of consecutive rows.

    Attributes:
        columns: Raw column to its plain array.
        start: Number of the first row, counted over all files.
        num_rows: Rows.
    """

    columns: dict[str, pa.Array]
    start: int
    num_rows: int


class RawFiles:
    """All raw files of a dataset.

    Args:
        paths: Parquet, CSV or tab-separated files, told apart by suffix.
        numeric: Columns that a CSV file must hold as numbers.
        needed: Columns that will be read.
        batch_bytes: Size of a batch in memory, about.

    Raises:
        DataError: There is no file, one is missing, empty or cannot be read.
    """

    def __init__(
        self, paths: Sequence[Path], needed: Sequence[str], numeric: Sequence[str], batch_bytes: int = BATCH_BYTES
    ) -> None:
        if not paths:
            raise DataError(
                "There are no raw files.",
                where="RawDataset.files",
                expected="at least one Parquet or CSV file",
                remedy="Check the folder and the pattern of the files.",
            )
        self.files = tuple(_open(path, needed, numeric) for path in paths)
        _agree([file for file in self.files if isinstance(file, CsvFile)])
        self._numeric = set(numeric)
        self._batch_bytes = batch_bytes
        self._starts = [0, *np.cumsum([file.num_rows for file in self.files]).tolist()]

    @property
    def num_rows(self) -> int:
        """Rows of all files."""
        return int(self._starts[-1])

    def memory(self, columns: Sequence[str]) -> int:
        """Estimates the bytes of some columns in memory."""
        return sum(file.memory(columns) for file in self.files)

    def locate(self, row: int) -> str:
        """Names a row counted over all files."""
        file = bisect_right(self._starts, row, hi=len(self.files)) - 1
        return self.files[file].locate(row - self._starts[file])

    def batches(self, columns: Sequence[str], dictionaries: Sequence[str] = ()) -> Iterator[RawBatch]:
        """Streams some columns of all files in order, cast to plain types.

        Args:
            columns: Which.
            dictionaries: Columns of text that may come as dictionary arrays: Parquet stores most text that way, and
                decoding every value only to look for the distinct ones again takes most of the time of reading.

        Raises:
            DataError: A file cannot be read.
        """
        types = {name: self._common_type(name) for name in columns}
        for file, start in zip(self.files, self._starts[:-1], strict=True):
            row = start
            for batch in file.batches(columns, self._batch_bytes, dictionaries):
                arrays = {name: self._plain(batch, name, types[name], row, name in dictionaries) for name in columns}
                yield RawBatch(arrays, row, batch.num_rows)
                row += batch.num_rows

    def _common_type(self, name: str) -> pa.DataType:
        kinds = [plain_type(file.schema.field(name).type) for file in self.files]
        return common_type(kinds, name in self._numeric)

    def _plain(self, batch: pa.RecordBatch, name: str, kind: pa.DataType, row: int, compact: bool) -> pa.Array:
        try:
            column = batch.column(name)
            array = column if compact and _is_compact(column, kind) else to_plain(column, kind)
            if "string" in str(array.type):
                array.validate(full=True)  # files may hold text that is not UTF-8, which Arrow reads as it is
            return array
        except pa.ArrowInvalid as error:
            raise DataError(
                "Values of this column cannot be taken.",
                where=Place(name, "raw", lambda _: self.locate(row)).at(0),
                found=str(error).splitlines()[0],
                remedy="Integers must fit into 64 bits, text must be UTF-8.",
            ) from error


def _agree(files: Sequence[CsvFile]) -> None:
    """Gives a column that was recognised as different types in several CSV files the type that fits all of them."""
    for name in {name for file in files for name in file.schema.names}:
        with_it = [file for file in files if file.schema.names.count(name) == 1]
        kinds = {file.schema.field(name).type for file in with_it}
        if len(kinds) > 1:
            numeric = kinds == {pa.int64(), pa.float64()}
            for file in with_it:
                file.retype(name, pa.float64() if numeric else pa.string())


def _is_compact(array: pa.Array, kind: pa.DataType) -> bool:
    """Whether an array is a dictionary of such values, and has no fewer values than its dictionary."""
    if not pa.types.is_dictionary(array.type) or array.type.value_type != kind:
        return False
    return len(array.dictionary) <= len(array) and array.dictionary.null_count == 0


_OLD_PYARROW = (
    "pyarrow before 26 cannot read lists of a fixed size with nulls among them: install a newer one, or write the "
    "column as plain lists."
)


def unreadable(path: Path, error: Exception, where: str = "") -> DataError:
    """Builds the error of a file that Arrow cannot read."""
    return DataError(
        "A raw file cannot be read.",
        where=f"{path}{where}",
        expected="a complete Parquet or CSV file",
        found=str(error).splitlines()[0] if str(error) else type(error).__name__,
        remedy=_OLD_PYARROW if "Expected all lists to be of size" in str(error) else "Copy or write the file again.",
    )


def _check_name(path: Path) -> None:
    try:
        str(path).encode()
    except UnicodeEncodeError as error:
        raise DataError(
            "The name of a raw file is not UTF-8.",
            where=str(path).encode(errors="backslashreplace").decode(),
            remedy="Rename the file.",
        ) from error


def _open(path: Path, needed: Sequence[str], numeric: Sequence[str]) -> RawFile:
    _check_name(path)
    if not path.is_file():
        raise DataError("A raw file does not exist.", where=str(path), remedy="Check the path.")
    suffix = path.suffix.lower()
    if suffix in CSV_SUFFIXES:
        return CsvFile(path, needed, numeric)
    if suffix in (".parquet", ".pq"):
        return ParquetFile(path)
    raise DataError(
        "The kind of a raw file is not known.",
        where=str(path),
        expected=f".parquet, .pq, {', '.join(CSV_SUFFIXES)}",
        found=suffix or "no suffix",
        remedy="Rename or convert the file.",
    )
