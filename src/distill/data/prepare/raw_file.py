"""What a raw file offers, whatever its kind, and the errors that all kinds share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

import pyarrow as pa

from distill.errors import DataError


class RawFile(Protocol):
    """One raw file."""

    @property
    def path(self) -> Path:
        """Where it is."""
        ...

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
        self, columns: Sequence[str], batch_bytes: int, dictionaries: Sequence[str] = (), start: int = 0
    ) -> Iterator[pa.RecordBatch]:
        """Streams some columns from a row on, in batches of about so many bytes at most; `dictionaries` may come as
        such."""
        ...

    def locate(self, row: int) -> str:
        """Names a row of the file."""
        ...


@runtime_checkable
class FoundTypes(Protocol):
    """A file with columns of text whose types were found by looking at them, and may be widened for other files."""

    @property
    def found_types(self) -> dict[str, pa.DataType]:
        """Those columns that are read, with the type that fits their values; null without any
        value but words for null."""
        ...

    @property
    def words_for_null(self) -> dict[str, int]:
        """Column to how many words stand for null in it, unless it is text."""
        ...

    def retype(self, name: str, kind: pa.DataType) -> None:
        """Reads a column as another type from now on."""
        ...


def from_row(batches: Iterator[pa.RecordBatch], start: int) -> Iterator[pa.RecordBatch]:
    """Leaves out the first rows of a stream of batches."""
    for batch in batches:
        if start < batch.num_rows:
            yield batch.slice(start)
        start = max(0, start - batch.num_rows)


def first_rows(batches: Iterator[pa.RecordBatch], most: int | None) -> Iterator[pa.RecordBatch]:
    """Ends a stream of batches after so many rows; None is all."""
    for batch in batches:
        if most is not None:
            batch = batch.slice(0, most)
            most -= batch.num_rows
        yield batch
        if most == 0:
            return


_OLD_PYARROW = (
    "pyarrow before 26 cannot read lists of a fixed size with nulls among them: install a newer one, or write the "
    "column as plain lists."
)


def unreadable(path: Path, error: Exception, where: str = "") -> DataError:
    """Builds the error of a file that Arrow cannot read."""
    return DataError(
        "A raw file cannot be read.",
        where=f"{path}{where}",
        expected="a complete Parquet, Arrow or ORC file",
        found=str(error).splitlines()[0] if str(error) else type(error).__name__,
        remedy=_OLD_PYARROW if "Expected all lists to be of size" in str(error) else "Copy or write the file again.",
    )
