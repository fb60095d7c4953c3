"""CSV and tab-separated files whose column types hold for the whole file, not for its first block."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as pa_csv

from distill.data.file_kind import file_kind
from distill.data.prepare.raw_file import first_rows, from_row
from distill.encodings.arrow import with_readable_names
from distill.encodings.text import DECLARED, NULLS, Evidence, convert, convert_declared, first_failing, without_words
from distill.errors import DataError
from distill.schema import RawColumns

_BLOCK_BYTES = 1 << 24
_SMALLEST_BLOCK = 1 << 20
_FIRST_BLOCK = 1 << 22  # where only first rows are read: blocks are read ahead
_EXPANSION = 6
_CONVERSION = re.compile(r"In CSV column #(\d+):")


class CsvFile:
    """A text file of rows, perhaps compressed; its types are found in a first reading.

    A column is int, else float, else string; truth values are recognised, and ISO 8601 in columns of times. What is
    null, and which columns have a type of their own, `raw` says; without it see `NULLS` and `WORDS_FOR_NULL`.

    Args:
        path: The file; a header row names the columns.
        needed: Columns that will be read.
        numeric: Those of them that must hold numbers.
        times: Those of them that hold times.
        raw: What the schema declares.
        most_rows: Only so many first rows are read, as if there were no others.

    Raises:
        DataError: The file cannot be parsed, or a value does not fit the type that its column must have.
    """

    def __init__(
        self,
        path: Path,
        needed: Sequence[str],
        numeric: Sequence[str],
        times: Sequence[str] = (),
        raw: RawColumns | None = None,
        most_rows: int | None = None,
    ) -> None:
        self.path = path
        self._most_rows = most_rows
        kind = file_kind(path)
        assert kind is not None
        self._compression = kind.compression
        self._parse = pa_csv.ParseOptions(delimiter=kind.delimiter, newlines_in_values=True)
        raw = raw or RawColumns()
        self._guess_nulls = raw.null_values is None
        self._nulls = list(NULLS if raw.null_values is None else ("", *raw.null_values))
        self._declared = {name: DECLARED[declared] for name, declared in raw.columns.items()}
        self._names = list(self._first_block().names)
        once, asked = [name for name, times_there in Counter(self._names).items() if times_there == 1], set(needed)
        wanted = [name for name in once if name in asked] or once[:1]
        self._types = {name: self._declared.get(name, pa.null()) for name in wanted}
        self.words_for_null: dict[str, int] = {}
        self.found_types: dict[str, pa.DataType] = {}
        self._num_rows, self._bytes = 0, 0
        if wanted:
            self._settle(wanted, set(numeric), set(times))

    @property
    def num_rows(self) -> int:
        """Rows."""
        return self._num_rows

    @property
    def schema(self) -> pa.Schema:
        """Columns; the type of those that are not read, and of those without values, is null."""
        return pa.schema([(name, self._types.get(name, pa.null())) for name in self._names])

    def memory(self, columns: Sequence[str]) -> int:
        """Estimates the bytes of some columns in memory."""
        share = len(columns) / max(1, len(self._types))
        return int(max(2 * self._bytes * share, 16 * len(columns) * self._num_rows))

    def batches(
        self, columns: Sequence[str], batch_bytes: int, dictionaries: Sequence[str] = (), start: int = 0
    ) -> Iterator[pa.RecordBatch]:
        """Streams some columns from a row on, in blocks of about so many bytes at most, none as a dictionary.

        Raises:
            DataError: The file cannot be parsed.
        """
        row = start
        for batch in from_row(self._text(columns, batch_bytes // _EXPANSION), start):
            arrays = [self._converted(name, batch.column(name), row) for name in columns]
            row += batch.num_rows
            yield pa.RecordBatch.from_arrays(arrays, names=list(columns))

    def locate(self, row: int) -> str:
        """Names a row of the file by its line, counting one line per row."""
        return f"{self.path}, line {row + 2}"

    def retype(self, name: str, kind: pa.DataType) -> None:
        """Reads a column as another type from now on: one that fits the other files of the dataset too."""
        self._types[name] = kind

    def _text(self, columns: Sequence[str], block_bytes: int) -> Iterator[pa.RecordBatch]:
        try:
            with self._open(columns, block_bytes) as reader:
                yield from first_rows(reader, self._most_rows)
        except (pa.ArrowException, OSError) as error:
            raise self._broken(error) from error

    def _open(self, columns: Sequence[str], block_bytes: int) -> pa_csv.CSVStreamingReader:
        largest = _BLOCK_BYTES if self._most_rows is None else _FIRST_BLOCK
        read = pa_csv.ReadOptions(block_size=max(_SMALLEST_BLOCK, min(largest, block_bytes)))
        convert_options = pa_csv.ConvertOptions(
            include_columns=list(columns),
            column_types=dict.fromkeys(columns, pa.string()),
            null_values=self._nulls,
            strings_can_be_null=True,
        )
        stream = pa.input_stream(str(self.path), compression=self._compression)
        return pa_csv.open_csv(stream, read_options=read, parse_options=self._parse, convert_options=convert_options)

    def _first_block(self) -> pa.Schema:
        try:
            with self._open([], _BLOCK_BYTES) as reader:
                return with_readable_names(reader.schema)
        except (pa.ArrowException, OSError) as error:
            raise self._broken(error) from error

    def _settle(self, wanted: list[str], numeric: set[str], times: set[str]) -> None:
        """Reads the file, and gives every column the narrowest type that fits all its values."""
        found = {
            name: Evidence(name in numeric, name in times, self._guess_nulls)
            for name in wanted
            if name not in self._declared
        }
        for batch in self._text(wanted, _BLOCK_BYTES):
            for name in wanted:
                text = batch.column(name)
                self._bytes += text.nbytes
                if name not in found:
                    self._converted(name, text, self._num_rows)
                    continue
                try:
                    found[name].add(text)
                except pa.ArrowInvalid as error:
                    raise self._unfit(name, text, self._num_rows, pa.float64()) from error
            self._num_rows += batch.num_rows
        self.words_for_null = {name: evidence.words for name, evidence in found.items() if evidence.words}
        self.found_types = {name: evidence.kind for name, evidence in found.items()}
        for name, kind in self.found_types.items():
            only_words = pa.types.is_null(kind) and name in self.words_for_null
            self._types[name] = pa.string() if only_words else kind

    def _converted(self, name: str, text: pa.Array, row: int) -> pa.Array:
        """Converts text to the type of its column; `row` is that of the first value."""
        kind = self._types[name]
        if pa.types.is_null(kind):
            return pa.nulls(len(text))
        if pa.types.is_string(kind):
            return text
        try:
            values = without_words(text)[0] if self._guess_nulls else text
            return (convert_declared if name in self._declared else convert)(values, kind)
        except pa.ArrowInvalid as error:
            raise self._unfit(name, text, row, kind) from error

    def _unfit(self, name: str, text: pa.Array, row: int, kind: pa.DataType) -> DataError:
        if self._guess_nulls:
            text = without_words(text)[0]
        to = convert_declared if name in self._declared else convert
        position = first_failing(len(text), lambda low, high: to(text.slice(low, high - low), kind))
        words = {pa.float64(): "a number", pa.int64(): "an integer", pa.bool_(): "true or false"}
        return DataError(
            f"A value is not {words.get(kind, 'a time')}.",
            where=f"{self.locate(row + position)}, column {name!r}",
            expected="numbers, or empty cells" if kind == pa.float64() else f"{kind}, or empty cells",
            found=repr(text[position].as_py())[:200],
            remedy="Correct the value, list it in `raw.null_values` if it means missing, or declare another type.",
        )

    def _broken(self, error: Exception) -> DataError:
        text = str(error).splitlines()[0] if str(error) else type(error).__name__
        match = _CONVERSION.search(text)
        column = f", column {self._names[int(match[1])]!r}" if match else ""
        return DataError(
            "A CSV file cannot be parsed.",
            where=f"{self.path}{column}",
            expected="a header row, as many cells in every row, text in UTF-8",
            found=text,
            remedy=f"Correct the line; the delimiter of {self.path.suffix} files is {self._parse.delimiter!r}.",
        )
