"""Files of JSON lines, an object a row, whose column types hold for the whole file."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.json as pa_json

from distill.data.file_kind import file_kind
from distill.data.prepare.json_types import Steps, join, unsigned_leaves, with_leaf, without_times
from distill.data.prepare.raw_file import first_rows, from_row
from distill.encodings.arrow import combine, with_readable_names
from distill.errors import DataError

_BLOCK_BYTES = 1 << 24
_FIRST_BLOCK = 1 << 20  # where only first rows are read
_EXPANSION = 2
_ROW, _COLUMN = re.compile(r" in row (\d+)"), re.compile(r"Column\(/([^/)]+)")


class JsonFile:
    """A text file with a JSON object in each line, perhaps compressed; its types are found in a first reading.

    A key that an object does not have is null. Numbers are int, else float (whole ones from 2⁶³ on unsigned), text is
    text, also where it looks like a time. A file is read in blocks of 16 MiB, or of a line that is longer.

    Args:
        path: The file.
        needed: Columns that will be read.
        as_text: Columns whose values are text whatever they are: others as they are written.
        most_rows: Only so many first rows are read, as if there were no others.

    Raises:
        DataError: A line is not an object, or a column that is needed holds several kinds of values.
    """

    def __init__(
        self, path: Path, needed: Sequence[str], as_text: Collection[str] = (), most_rows: int | None = None
    ) -> None:
        self.path = path
        kind = file_kind(path)
        assert kind is not None
        self._compression = kind.compression
        self._most_rows = most_rows
        self._needed, self._as_text = set(needed), set(as_text)
        self._types: dict[str, pa.DataType] = {}
        self._num_rows, self._bytes = 0, 0
        self._settle()

    @property
    def num_rows(self) -> int:
        """Rows."""
        return self._num_rows

    @property
    def schema(self) -> pa.Schema:
        """Columns; the type of those that are not read, and of those without values, is null."""
        return pa.schema(list(self._types.items()))

    def memory(self, columns: Sequence[str]) -> int:
        """Estimates the bytes of some columns in memory."""
        share = len(columns) / max(1, len(self._needed & self._types.keys()))
        return int(max(_EXPANSION * self._bytes * share, 16 * len(columns) * self._num_rows))

    def batches(
        self, columns: Sequence[str], batch_bytes: int, dictionaries: Sequence[str] = (), start: int = 0
    ) -> Iterator[pa.RecordBatch]:
        """Streams some columns from a row on, in batches of about so many bytes at most, none as a dictionary.

        Raises:
            DataError: The file cannot be parsed.
        """
        parsed = self._parsed({name: self._types[name] for name in columns})
        for batch in from_row(first_rows(parsed, self._most_rows), start):
            rows = max(64, batch_bytes * max(1, batch.num_rows) // max(1, _EXPANSION * batch.nbytes))
            for begin in range(0, batch.num_rows, rows):
                yield batch.slice(begin, rows)

    def locate(self, row: int) -> str:
        """Names a row of the file by its line, counting one line per row."""
        return f"{self.path}, line {row + 1}"

    def _parsed(self, types: Mapping[str, pa.DataType]) -> Iterator[pa.RecordBatch]:
        row = 0
        for block in self._blocks():
            try:
                table = _read(block, types)
            except pa.ArrowException:
                table = self._table(self._narrowed(block, row), row, types)
            row += table.num_rows
            yield pa.RecordBatch.from_arrays([combine(table[name]) for name in types], names=list(types))

    def _blocks(self) -> Iterator[bytes]:
        """Reads the file in blocks of whole lines."""
        size = _BLOCK_BYTES if self._most_rows is None else _FIRST_BLOCK
        rest = b""
        try:
            with pa.input_stream(str(self.path), compression=self._compression) as stream:
                while read := stream.read(size):
                    end = read.rfind(b"\n") + 1
                    if not end:
                        rest += read
                        continue
                    block, rest = rest + read[:end], read[end:]
                    if not block.isspace():
                        yield block
        except (pa.ArrowException, OSError) as error:
            raise self._broken(error, 0) from error
        if rest and not rest.isspace():
            yield rest

    def _settle(self) -> None:
        """Reads the file, and gives every column that is needed the narrowest type that fits all its values."""
        for block in self._blocks():
            table = self._inferred(block)
            if self._most_rows is not None:
                table = table.slice(0, self._most_rows - self._num_rows)
            for name in table.column_names:
                kind = without_times(table[name].type) if name in self._needed else pa.null()
                for path in unsigned_leaves(table[name]) if name in self._needed else ():
                    kind = self._unsigned(block, name, kind, path)
                self._types[name] = self._joined(name, self._types.get(name, pa.null()), kind)
                self._bytes += table[name].nbytes if name in self._needed else 0
            self._num_rows += table.num_rows
            if self._num_rows == self._most_rows:
                return

    def _inferred(self, block: bytes) -> pa.Table:
        """Parses a block; columns that are not needed may hold anything."""
        try:
            table = _read(block)
        except pa.ArrowException:
            table = self._table(self._narrowed(block, self._num_rows), self._num_rows, None)
        try:
            with_readable_names(table.schema)
        except pa.ArrowInvalid as error:
            raise self._broken(error, self._num_rows) from error
        return table

    def _narrowed(self, block: bytes, row: int) -> bytes:
        """Returns the lines of a block, from a row on, with the columns that are needed, and null for the others."""
        lines: list[str] = []
        for line in filter(bytes.strip, block.split(b"\n")):
            try:
                found = json.loads(line)
                if not isinstance(found, dict):
                    raise ValueError(f"the line is not an object but a {type(found).__name__}")
            except ValueError as error:  # of which those of JSON and of UTF-8 are kinds
                raise self._broken(error, row + len(lines)) from error
            kept = {name: value if name in self._needed else None for name, value in found.items()}
            lines.append(json.dumps(kept | {name: _written(kept[name]) for name in self._as_text & kept.keys()}))
        return "\n".join(lines).encode()

    def _unsigned(self, block: bytes, name: str, kind: pa.DataType, path: Steps) -> pa.DataType:
        """Returns the type with unsigned numbers at a path if all of a block are whole, the type itself if not."""
        unsigned = with_leaf(kind, path, pa.uint64())
        try:
            _read(block, {name: unsigned})
        except pa.ArrowException:
            return kind
        return unsigned

    def _table(self, block: bytes, row: int, types: Mapping[str, pa.DataType] | None) -> pa.Table:
        try:
            return _read(block, types)
        except pa.ArrowException as error:
            raise self._broken(error, row) from error

    def _joined(self, name: str, one: pa.DataType, other: pa.DataType) -> pa.DataType:
        joined = join(one, other)  # the type of an empty object is false
        if joined is None and name in self._as_text:
            return pa.string()
        if joined is None:
            raise self._broken(ValueError(f"Column(/{name}) changed from {one} to {other}"), self._num_rows)
        return joined

    def _broken(self, error: Exception, row: int) -> DataError:
        """Builds the error of a block whose first row is the `row`th."""
        text = str(error).splitlines()[0] if str(error) else type(error).__name__
        line, column = _ROW.search(text), _COLUMN.search(text)
        where = self.locate(row + (int(line[1]) if line else 0)) if row or line else str(self.path)
        return DataError(
            "A file of JSON lines cannot be parsed.",
            where=f"{where}, column {column[1]!r}" if column else where,
            expected="an object in each line, and values of one kind in a column: text, numbers, truth values or lists",
            found=_ROW.sub("", text)[:300],
            remedy="Correct the line, write the column with one kind of value, or declare it as text in `raw.columns`.",
        )


def _read(block: bytes, types: Mapping[str, pa.DataType] | None = None) -> pa.Table:
    """Parses a block as one; with types these columns only.

    Raises:
        pa.ArrowException: It cannot be parsed so.
    """
    parse = (
        pa_json.ParseOptions()
        if types is None
        else pa_json.ParseOptions(explicit_schema=pa.schema(list(types.items())), unexpected_field_behavior="ignore")
    )
    read = pa_json.ReadOptions(use_threads=False, block_size=len(block) + 1)
    return pa_json.read_json(pa.BufferReader(block), read_options=read, parse_options=parse)


def _written(value: Any) -> str | None:
    return value if value is None or isinstance(value, str) else json.dumps(value, ensure_ascii=False)
