"""CSV and tab-separated files whose column types hold for the whole file, not for its first block."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as pa_csv

from distill.data.prepare.arrow import with_readable_names
from distill.errors import DataError

CSV_SUFFIXES = {".csv": ",", ".tsv": "\t", ".tab": "\t"}

_BLOCK_BYTES = 1 << 24
_SMALLEST_BLOCK = 1 << 20
_NULLS = ["", "null", "NULL"]
_EXPANSION = 6
_CONVERSION = re.compile(r"In CSV column #(\d+):.*?conversion error to ([^:]+): (.*)", re.DOTALL)

_LONG_INTEGER = re.compile(r"'[+-]?\d+'")


class CsvFile:
    """A CSV file; its types are found in a first reading.

    A column is int, else float, else string; booleans, dates and timestamps in ISO 8601 are recognised. An empty cell,
    `null` and `NULL` are null.

    Args:
        path: The file; a header row names the columns.
        needed: Columns that will be read.
        numeric: Those of them that must hold numbers.

    Raises:
        DataError: The file cannot be parsed, or a numeric column holds something else.
    """

    def __init__(self, path: Path, needed: Sequence[str], numeric: Sequence[str]) -> None:
        self.path = path
        self._parse = pa_csv.ParseOptions(delimiter=CSV_SUFFIXES[path.suffix.lower()], newlines_in_values=True)
        self._numeric = set(numeric)
        self._types: dict[str, pa.DataType] = {}
        first = self._first_block()
        self._names = list(first.names)
        once = [name for name in self._names if self._names.count(name) == 1]
        wanted = [name for name in once if name in set(needed)] or once[:1]
        self._types = {name: self._initial(name, first.field(name).type) for name in wanted}
        self._num_rows = self._settle(wanted) if wanted else 0

    @property
    def num_rows(self) -> int:
        """Rows."""
        return self._num_rows

    @property
    def schema(self) -> pa.Schema:
        """Columns; the type of those that are not read is null."""
        return pa.schema([(name, self._types.get(name, pa.null())) for name in self._names])

    def memory(self, columns: Sequence[str]) -> int:
        """Estimates the bytes of some columns in memory."""
        share = len(columns) / max(1, len(self._names))
        return int(max(self.path.stat().st_size * share * _EXPANSION, 16 * len(columns) * self._num_rows))

    def batches(
        self, columns: Sequence[str], batch_bytes: int, dictionaries: Sequence[str] = ()
    ) -> Iterator[pa.RecordBatch]:
        """Streams some columns in blocks of about so many bytes at most, none as a dictionary.

        Raises:
            DataError: The file cannot be parsed.
        """
        try:
            with self._open(columns, batch_bytes // _EXPANSION) as reader:
                yield from reader
        except (pa.ArrowException, OSError) as error:
            raise self._broken(error) from error

    def locate(self, row: int) -> str:
        """Names a row of the file by its line, counting one line per row."""
        return f"{self.path}, line {row + 2}"

    def retype(self, name: str, kind: pa.DataType) -> None:
        """Reads a column as another type from now on: one that fits the other files of the dataset too."""
        self._types[name] = kind

    def _open(self, columns: Sequence[str], block_bytes: int) -> pa_csv.CSVStreamingReader:
        read = pa_csv.ReadOptions(block_size=max(_SMALLEST_BLOCK, min(_BLOCK_BYTES, block_bytes)))
        convert = pa_csv.ConvertOptions(
            include_columns=list(columns),
            column_types={name: self._types[name] for name in columns if name in self._types},
            null_values=_NULLS,
            strings_can_be_null=True,
        )
        return pa_csv.open_csv(self.path, read_options=read, parse_options=self._parse, convert_options=convert)

    def _first_block(self) -> pa.Schema:
        try:
            with self._open([], _BLOCK_BYTES) as reader:
                return with_readable_names(reader.schema)
        except (pa.ArrowException, OSError) as error:
            raise self._broken(error) from error

    def _initial(self, name: str, inferred: pa.DataType) -> pa.DataType:
        if name in self._numeric and not pa.types.is_boolean(inferred):
            return pa.float64()
        # Integers beyond 64 bits are taken for floats; widening step by step finds out, so that no id is rounded.
        return pa.int64() if pa.types.is_null(inferred) or pa.types.is_floating(inferred) else inferred

    def _settle(self, wanted: list[str]) -> int:
        """Reads the file until every column has a type that fits all its values; returns the number of rows."""
        while True:
            try:
                with self._open(wanted, _BLOCK_BYTES) as reader:
                    return sum(batch.num_rows for batch in reader)
            except pa.ArrowInvalid as error:
                self._widen(error)
            except (pa.ArrowException, OSError) as error:
                raise self._broken(error) from error

    def _widen(self, error: pa.ArrowInvalid) -> None:
        match = _CONVERSION.search(str(error))
        name = self._names[int(match[1])] if match else ""
        kind = self._types.get(name, pa.string())
        if match is None or pa.types.is_string(kind):
            raise self._broken(error) from error
        if name in self._numeric and not pa.types.is_boolean(kind):
            raise DataError(
                "A value is not a number.",
                where=f"{self.path}, column {name!r}",
                expected="numbers, or empty cells",
                found=match[3].splitlines()[0],
                remedy="Correct the value, or declare the field as an id.",
            ) from error
        if name in self._numeric or (pa.types.is_integer(kind) and not _LONG_INTEGER.search(match[3])):
            self._types[name] = pa.float64()
        else:
            self._types[name] = pa.string()

    def _broken(self, error: Exception) -> DataError:
        text = str(error).splitlines()[0] if str(error) else type(error).__name__
        return DataError(
            "A CSV file cannot be parsed.",
            where=str(self.path),
            expected="a header row, and as many cells in every row",
            found=text,
            remedy=f"Correct the line; the delimiter of {self.path.suffix} files is {self._parse.delimiter!r}.",
        )
