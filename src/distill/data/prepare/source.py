"""Raw files as one stream of record batches, with the place of every row."""

from __future__ import annotations

import logging
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from distill.data.file_kind import KNOWN_FILES, FileKind, file_kind
from distill.data.partitions import folder_columns
from distill.data.prepare.agree import agree
from distill.data.prepare.arrow_file import ArrowFile
from distill.data.prepare.csv_file import CsvFile
from distill.data.prepare.json_file import JsonFile
from distill.data.prepare.parquet_file import ParquetFile
from distill.data.prepare.paths import roots_of, with_paths
from distill.data.prepare.raw_columns import DeclaredFile, PartitionFile, as_text
from distill.data.prepare.raw_file import RawFile
from distill.data.prepare.table_file import TableFile
from distill.data.table_formats.named import table_named
from distill.encodings.arrow import common_type, plain_type, to_plain
from distill.encodings.place import Place
from distill.encodings.text import first_failing
from distill.encodings.valid import check_text
from distill.errors import DataError
from distill.schema import RawColumns

BATCH_BYTES = 1 << 27
_NAMING_ROWS = 10_000
_log = logging.getLogger(__name__)


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
        paths: Files of any kind that `file_kind` knows.
        needed: Columns that will be read; those that are not in a file are looked for in the names of its folders.
        numeric: Those of them that must hold numbers.
        batch_bytes: Size of a batch in memory, about.
        times: Columns that hold times.
        raw: What the schema declares of raw columns.

    Raises:
        DataError: There is no file, one is missing, empty or cannot be read.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        needed: Sequence[str],
        numeric: Sequence[str],
        batch_bytes: int = BATCH_BYTES,
        times: Sequence[str] = (),
        raw: RawColumns | None = None,
    ) -> None:
        if not paths:
            raise DataError(
                "There are no raw files.",
                where="RawDataset.files",
                expected=f"at least one file: {KNOWN_FILES}",
                remedy="Check the folder and the pattern of the files.",
            )
        columns = _Columns(tuple(dict.fromkeys(needed)), frozenset(numeric), frozenset(times), raw or RawColumns())
        self.files = tuple(_open(path, columns) for path in paths)
        for line in agree(self.files, columns.needed, columns.numeric):
            _log.warning("%s", line)
        self._measured = columns.numeric | columns.times
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
        file = self.number_of(row)
        return self.files[file].locate(row - self._starts[file])

    def number_of(self, row: int) -> int:
        """Returns the number of the file of a row counted over all files."""
        return bisect_right(self._starts, row, hi=len(self.files)) - 1

    def first_row(self, number: int) -> int:
        """Returns the first row of a file, counted over all files; of the number behind the last, all rows."""
        return int(self._starts[number])

    def types(self, columns: Sequence[str]) -> dict[str, pa.DataType]:
        """Returns the plain types that columns are read as."""
        schemas = [file.schema for file in self.files]
        return {
            name: common_type([plain_type(schema.field(name).type) for schema in schemas], name in self._measured)
            for name in columns
        }

    def batches(
        self, columns: Sequence[str], dictionaries: Sequence[str] = (), start: int = 0, stop: int | None = None
    ) -> Iterator[RawBatch]:
        """Streams some columns of all files in order, cast to plain types.

        Args:
            columns: Which.
            dictionaries: Columns of text that may come as dictionary arrays: Parquet stores most text that way, and
                decoding every value only to look for the distinct ones again takes most of the time of reading.
            start: First row, counted over all files.
            stop: The row behind the last one; all rows to the end if None.

        Raises:
            DataError: A file cannot be read.
        """
        types = self.types(columns)
        stop = self.num_rows if stop is None else stop
        for file, of_file in zip(self.files, self._starts[:-1], strict=True):
            row = max(start, of_file)
            if row >= min(stop, of_file + file.num_rows):
                continue
            for batch in file.batches(columns, self._batch_bytes, dictionaries, row - of_file):
                batch = batch.slice(0, stop - row)
                if not batch.num_rows:
                    break
                arrays = {name: self._plain(batch, name, types[name], row, name in dictionaries) for name in columns}
                yield RawBatch(arrays, row, batch.num_rows)
                row += batch.num_rows

    def _plain(self, batch: pa.RecordBatch, name: str, kind: pa.DataType, row: int, compact: bool) -> pa.Array:
        column = batch.column(name)
        try:
            return _taken(column, kind, compact)
        except pa.ArrowInvalid as error:
            position = first_failing(len(column), lambda low, high: _taken(column.slice(low, high - low), kind, False))
            raise DataError(
                "Values of this column cannot be read.",
                where=Place(name, "raw", lambda position: self.locate(row + position)).at(position),
                found=f"{str(error).splitlines()[0]:.300}",
                remedy="Integers must fit into 64 bits, text must be UTF-8, times within 292,000 years of 1970.",
            ) from error


def _taken(column: pa.Array, kind: pa.DataType, compact: bool) -> pa.Array:
    """Casts a column to its plain type, a dictionary only if it is not to stay one.

    Raises:
        pa.ArrowInvalid: A value cannot be taken.
    """
    array = column if compact and _is_compact(column, kind) else to_plain(column, kind)
    if "string" in str(array.type):
        check_text(array)
    return array


def _is_compact(array: pa.Array, kind: pa.DataType) -> bool:
    """Whether an array is a dictionary of such values, and has no fewer values than its dictionary."""
    if not pa.types.is_dictionary(array.type) or array.type.value_type != kind:
        return False
    return len(array.dictionary) <= len(array) and array.dictionary.null_count == 0


def _check_name(path: Path) -> None:
    try:
        str(path).encode()
    except UnicodeEncodeError as error:
        raise DataError(
            "The name of a raw file is not UTF-8.",
            where=str(path).encode(errors="backslashreplace").decode(),
            remedy="Rename the file.",
        ) from error


@dataclass(frozen=True)
class _Columns:
    """What is read of the files, and how."""

    needed: tuple[str, ...]
    numeric: frozenset[str]
    times: frozenset[str]
    raw: RawColumns
    most_rows: int | None = None

    @property
    def as_text(self) -> list[str]:
        """Columns that are declared to be text."""
        return [name for name, kind in self.raw.columns.items() if kind == "text"]


def open_start(path: Path, rows: int) -> tuple[RawFile, Counter[str]]:
    """Opens a file for its first rows: nothing behind them is read, nor do they say of it.

    Args:
        path: A file of any kind that `file_kind` knows.
        rows: How many, of formats whose types or rows are found by reading; others are opened by their footer.

    Returns:
        The file, with the columns that are there once and those of its folders, and how often each is in the file.

    Raises:
        DataError: It is missing or cannot be read.
    """
    nothing = _Columns((), frozenset(), frozenset(), RawColumns(), rows)
    names = Counter(_open(path, nothing).schema.names)
    once = tuple(name for name in {**names, **folder_columns(path)} if names[name] <= 1)
    return _open(path, replace(nothing, needed=once, times=frozenset(once))), names


def column_names(path: Path) -> list[str]:
    """Names the columns of a file in their order, not those of its folders; of JSON lines the keys of the first lines.

    Raises:
        DataError: It is missing or cannot be read.
    """
    _check_name(path)
    return list(_open_kind(path, _Columns((), frozenset(), frozenset(), RawColumns(), _NAMING_ROWS)).schema.names)


def _open(path: Path, columns: _Columns) -> RawFile:
    _check_name(path)
    file = _open_kind(path, columns)
    names = Counter(file.schema.names)
    in_folders = {n: text for n, text in folder_columns(path).items() if n in columns.needed and not names[n]}
    if in_folders:
        return PartitionFile(file, in_folders, sorted(columns.numeric), sorted(columns.times), columns.raw)
    return file


def _open_kind(path: Path, columns: _Columns) -> RawFile:
    kind = _kind(path)
    if kind.name == "CSV":
        numeric, times = sorted(columns.numeric), sorted(columns.times)
        texts, lists = as_text(columns.raw)
        csv = CsvFile(path, columns.needed, numeric, times, texts, columns.most_rows)
        return csv if lists is None else DeclaredFile(csv, lists)
    file: RawFile
    needed = (*columns.needed, *roots_of(columns.needed))
    if kind.name in ("Delta", "Iceberg"):
        file = TableFile(path, needed)
    elif kind.name == "Parquet":
        file = ParquetFile(path)
    elif kind.name == "JSON":
        file = JsonFile(path, needed, columns.as_text, columns.most_rows)
    else:
        file = ArrowFile(path, needed, is_orc=kind.name == "ORC", most_rows=columns.most_rows)
    file = with_paths(file, columns.needed)
    return DeclaredFile(file, columns.raw) if columns.raw != RawColumns() else file


def _kind(path: Path) -> FileKind:
    if not path.is_file() and table_named(path) is None:
        raise DataError("A raw file does not exist.", where=str(path), remedy="Check the path.")
    kind = file_kind(path)
    if kind is None:
        raise DataError(
            "A raw file has an unknown kind.",
            where=str(path),
            expected=KNOWN_FILES,
            found=path.suffix or "no suffix, and no known first bytes",
            remedy="Rename or convert the file.",
        )
    return kind
