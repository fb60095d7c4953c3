"""Columns that are not as a file stores them: of a declared type, or in the names of its folders."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import pyarrow as pa

from distill.data.prepare.raw_file import FoundTypes, RawFile
from distill.encodings.arrow import to_plain
from distill.encodings.declared import DeclaredColumns
from distill.encodings.place import Place
from distill.encodings.text import DECLARED, Evidence, convert, convert_declared
from distill.errors import DataError
from distill.schema import RawColumns
from distill.schema.keys import RawType

_BATCH_ROWS = 1 << 16


def as_text(raw: RawColumns) -> tuple[RawColumns, RawColumns | None]:
    """Divides what is declared of a text file: what it is read as, lists as text, and how to take lists apart then."""
    if not raw.delimiters:
        return raw, None
    types = {name: kind for name, kind in raw.columns.items() if name in raw.delimiters}
    texts: dict[str, RawType] = dict.fromkeys(raw.delimiters, "text")
    return raw.model_copy(update={"columns": {**raw.columns, **texts}}), raw.model_copy(update={"columns": types})


class DeclaredFile:
    """A file whose columns are read as the schema declares them.

    Args:
        file: Any; of a text file only lists are left to read.
        raw: What the schema declares: types, text that is null, and text that is a list.
    """

    def __init__(self, file: RawFile, raw: RawColumns) -> None:
        self._file = file
        self.path = file.path
        self._declared = DeclaredColumns(raw)
        self.num_rows = file.num_rows

    @property
    def schema(self) -> pa.Schema:
        """Columns and the types that they are read as."""
        return pa.schema([pa.field(f.name, self._declared.type_of(f.name, f.type)) for f in self._file.schema])

    @property
    def found_types(self) -> dict[str, pa.DataType]:
        """Columns of text whose type was found, with it."""
        return self._file.found_types if isinstance(self._file, FoundTypes) else {}

    @property
    def words_for_null(self) -> dict[str, int]:
        """Column to how many words stand for null in it."""
        return self._file.words_for_null if isinstance(self._file, FoundTypes) else {}

    def retype(self, name: str, kind: pa.DataType) -> None:
        """Reads a column as another type from now on: one that fits the other files of the dataset too."""
        if isinstance(self._file, FoundTypes):
            self._file.retype(name, kind)

    def memory(self, columns: Sequence[str]) -> int:
        """Estimates the bytes of some columns in memory."""
        return self._file.memory(columns)

    def locate(self, row: int) -> str:
        """Names a row of the file."""
        return self._file.locate(row)

    def batches(
        self, columns: Sequence[str], batch_bytes: int, dictionaries: Sequence[str] = (), start: int = 0
    ) -> Iterator[pa.RecordBatch]:
        """Streams some columns from a row on, in batches of about so many bytes at most.

        Raises:
            DataError: The file cannot be read, or a value cannot be taken as what its column is declared to be.
        """
        plain = [name for name in dictionaries if not self._changes(name)]
        row = start
        for batch in self._file.batches(columns, batch_bytes, plain, start):
            arrays = [self._read(name, batch.column(name), row) for name in columns]
            row += batch.num_rows
            yield pa.RecordBatch.from_arrays(arrays, names=list(columns))

    def _changes(self, name: str) -> bool:
        return self._declared.changes(name, self._file.schema.field(name).type)

    def _read(self, name: str, array: pa.Array, row: int) -> pa.Array:
        if not self._changes(name):
            return array
        place = Place(name, "raw.columns", lambda position: self.locate(row + position))
        try:
            return self._declared.read(name, to_plain(array), place)
        except pa.ArrowInvalid as error:
            raise DataError(
                "Values of this column cannot be read.",
                where=place.at(0),
                found=str(error).splitlines()[0],
                remedy="Integers must fit into 64 bits, text must be UTF-8.",
            ) from error


class PartitionFile:
    """A file with the columns that the names of its folders hold, each the same in all its rows.

    Args:
        file: Any.
        columns: Column to the text of its value, None for null; none of them is in the file.
        numeric: Columns that must hold numbers.
        times: Columns that hold times.
        raw: What the schema declares.

    Raises:
        DataError: A value is not a number where it must be.
    """

    def __init__(
        self,
        file: RawFile,
        columns: Mapping[str, str | None],
        numeric: Sequence[str],
        times: Sequence[str],
        raw: RawColumns,
    ) -> None:
        self._file = file
        self.path = file.path
        self.num_rows = file.num_rows
        known = {name: None if text in (raw.null_values or ()) else text for name, text in columns.items()}
        self._text = {name: pa.array([text], pa.string()) for name, text in known.items()}
        self._declared = {name: DECLARED[kind] for name, kind in raw.columns.items() if name in columns}
        self._types = dict(self._declared)
        for name in columns:
            if name not in self._declared:
                self._types[name] = self._found(name, name in numeric, name in times)

    @property
    def schema(self) -> pa.Schema:
        """Columns of the file, then those of its folders."""
        return pa.schema([*self._file.schema, *(pa.field(name, kind) for name, kind in self._types.items())])

    @property
    def found_types(self) -> dict[str, pa.DataType]:
        """Columns of text whose type was found, with it."""
        inner = self._file.found_types if isinstance(self._file, FoundTypes) else {}
        return {**inner, **{name: kind for name, kind in self._types.items() if name not in self._declared}}

    @property
    def words_for_null(self) -> dict[str, int]:
        """Column to how many words stand for null in it."""
        return self._file.words_for_null if isinstance(self._file, FoundTypes) else {}

    def retype(self, name: str, kind: pa.DataType) -> None:
        """Reads a column as another type from now on: one that fits the other files of the dataset too."""
        if name in self._types:
            self._types[name] = kind
        elif isinstance(self._file, FoundTypes):
            self._file.retype(name, kind)

    def memory(self, columns: Sequence[str]) -> int:
        """Estimates the bytes of some columns in memory."""
        own = [name for name in columns if name in self._types]
        return self._file.memory([name for name in columns if name not in own]) + 16 * self.num_rows * len(own)

    def locate(self, row: int) -> str:
        """Names a row of the file."""
        return self._file.locate(row)

    def batches(
        self, columns: Sequence[str], batch_bytes: int, dictionaries: Sequence[str] = (), start: int = 0
    ) -> Iterator[pa.RecordBatch]:
        """Streams some columns from a row on, in batches of about so many bytes at most.

        Raises:
            DataError: The file cannot be read, or the value of a folder is not what its column is declared to be.
        """
        stored = [name for name in columns if name not in self._types]
        constants = {name: self._value(name) for name in columns if name in self._types}
        inner: Iterator[tuple[int, pa.RecordBatch | None]]
        if stored:
            inner = ((b.num_rows, b) for b in self._file.batches(stored, batch_bytes, dictionaries, start))
        else:
            starts = range(start, self.num_rows, _BATCH_ROWS)
            inner = ((min(_BATCH_ROWS, self.num_rows - row), None) for row in starts)
        for rows, batch in inner:
            repeated = {name: pa.repeat(value, rows) for name, value in constants.items()}
            arrays = [repeated[name] if batch is None or name in repeated else batch.column(name) for name in columns]
            yield pa.RecordBatch.from_arrays(arrays, names=list(columns))

    def _found(self, name: str, numeric: bool, may_be_time: bool) -> pa.DataType:
        evidence = Evidence(numeric, may_be_time, guess_nulls=False)
        try:
            evidence.add(self._text[name])
        except pa.ArrowInvalid as error:
            raise self._unfit(name, "a number") from error
        return evidence.kind

    def _value(self, name: str) -> pa.Scalar:
        text, kind = self._text[name], self._types[name]
        if pa.types.is_null(kind):
            return pa.scalar(None, kind)
        try:
            return (convert_declared if name in self._declared else convert)(text, kind)[0]
        except pa.ArrowInvalid as error:
            raise self._unfit(name, str(kind)) from error

    def _unfit(self, name: str, expected: str) -> DataError:
        return DataError(
            "A value in the name of a folder does not fit its column.",
            where=f"{self.path}, column {name!r}",
            expected=expected,
            found=repr(self._text[name][0].as_py()),
            remedy="Rename the folder, or correct the schema.",
        )
