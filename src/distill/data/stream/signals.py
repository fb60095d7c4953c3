"""Teacher signals in files of their own, row by row beside the part files of a dataset."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from distill.data.checked_file import CheckedFile
from distill.data.checksums import CHECKSUMS_FILE, read_checksums
from distill.data.format import Dataset, PartFile, Split, hidden_column, teacher_column
from distill.data.stream.columns import same_type
from distill.errors import DataError, SignalError

DATASET = "dataset"
HIDDEN_PREFIX = hidden_column("")
_REMEDY = "Score this dataset again and give the folder that the score job wrote."


@dataclass(frozen=True)
class Sidecar:
    """Signal files of a split, one per part file, with the same rows in the same row groups.

    Attributes:
        files: One per part file.
        columns: The columns to read, one `teacher_<task>` per task, then `hidden_<name>`.
        hidden: Width of each hidden vector.
    """

    files: tuple[CheckedFile, ...]
    columns: pa.Schema
    hidden: dict[str, int]

    def with_hidden(self, names: Collection[str]) -> Sidecar:
        """Returns the same with some of the hidden vectors only."""
        left_out = {hidden_column(name) for name in self.hidden if name not in names}
        columns = pa.schema([column for column in self.columns if column.name not in left_out])
        return Sidecar(self.files, columns, {name: self.hidden[name] for name in names})


def open_sidecar(dataset: Dataset, tasks: tuple[str, ...], split: Split, folder: Path) -> Sidecar:
    """Opens the signal files `folder/<split>/<part file name>` and checks that they lie row by row beside the data.

    Args:
        dataset: The dataset they belong to.
        tasks: Tasks that need a logit.
        split: Which split.
        folder: Of the signals.

    Raises:
        SignalError: A file is missing or damaged, lacks a task, or has other rows or row groups than its part file.
    """
    nested = dataset.schema.layout == "requests"
    first: pa.Schema | None = None
    parts = dataset.parts(split)
    files = open_signals(folder / split, [Path(part.path).name for part in parts])
    for part, file in zip(parts, files, strict=True):
        _check_rows(dataset, part, file)
        columns = _columns(file.path, file.schema, tasks, nested)
        first = columns if first is None else first
        if not columns.equals(first):
            raise SignalError("Signal files hold different columns.", where=str(file.path), remedy=_REMEDY)
    if first is None:
        raise SignalError("There is nothing to score.", where=str(dataset.root / split))
    hidden = {
        c.name.removeprefix(HIDDEN_PREFIX): vector_type(c.type)[0] for c in first if c.name.startswith(HIDDEN_PREFIX)
    }
    return Sidecar(files, first, hidden)


def open_signals(folder: Path, names: Sequence[str]) -> tuple[CheckedFile, ...]:
    """Opens signal files, to be read with the checksums that the score job left beside them.

    Raises:
        SignalError: A file cannot be read, or is not what was written.
    """
    try:
        if not (folder / CHECKSUMS_FILE).exists():  # written by hand
            return tuple(CheckedFile.open(folder / name, None) for name in names)
        known = read_checksums(folder)
        if missing := [name for name in names if name not in known]:
            raise SignalError("The checksums of a signal file are missing.", where=f"{folder / missing[0]}")
        return tuple(CheckedFile.open(folder / name, known[name]) for name in names)
    except DataError as error:
        raise as_signal_error(error) from error


def as_signal_error(error: DataError) -> SignalError:
    """Says the same of a signal file."""
    return SignalError(
        error.problem.replace("Parquet file", "signal file"),
        where=error.where,
        expected=error.expected,
        found=error.found,
        remedy=_REMEDY,
    )


def _check_rows(dataset: Dataset, part: PartFile, file: CheckedFile) -> None:
    """Compares the row groups of a signal file with those of its part file."""
    path, names = file.path, file.schema.names
    expected, found = dataset.open(part).rows, file.rows
    if expected != found:
        raise SignalError(
            "A signal file does not have the rows of its part file.",
            where=str(path),
            expected=f"{_describe(expected)}, as {part.path}",
            found=_describe(found),
            remedy=_REMEDY,
        )
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise SignalError("A signal file holds a column twice.", where=f"{path}, column {repeated[0]}", remedy=_REMEDY)


def _describe(groups: list[int]) -> str:
    shown = ", ".join(map(str, groups[:5])) + (", …" if len(groups) > 5 else "")
    return f"{sum(groups)} rows in row groups of {shown}"


def _columns(path: Path, found: pa.Schema, tasks: tuple[str, ...], nested: bool) -> pa.Schema:
    logit = pa.list_(pa.float32()) if nested else pa.float32()
    columns = [pa.field(teacher_column(task), logit) for task in tasks]
    for column in columns:
        position = found.get_field_index(column.name)
        if position < 0 or not same_type(found.field(position).type, column.type):
            raise SignalError(
                "A signal file lacks the logits of a task or holds another type.",
                where=f"{path}, column {column.name}",
                expected=str(column.type),
                found="no such column" if position < 0 else str(found.field(position).type),
                remedy=_REMEDY,
            )
    hidden = sorted(name for name in found.names if re.match(HIDDEN_PREFIX, name))
    for name in hidden:
        width, number = vector_type(found.field(name).type)
        vector = pa.list_(number, width)
        expected = pa.list_(vector) if nested else vector
        if width < 1 or not same_type(found.field(name).type, expected):
            raise SignalError(
                "A hidden column does not hold fixed-size lists of float32 or float16.",
                where=f"{path}, column {name}",
                found=str(found.field(name).type),
                remedy=_REMEDY,
            )
        columns.append(pa.field(name, expected))
    return pa.schema(columns)


def vector_type(kind: pa.DataType) -> tuple[int, pa.DataType]:
    """Size of the fixed-size lists in a type, 0 if there are none, and whether they hold float32 or float16."""
    inner = kind.value_type if pa.types.is_list(kind) else kind
    if not pa.types.is_fixed_size_list(inner):
        return 0, pa.float32()
    return int(inner.list_size), pa.float16() if pa.types.is_float16(inner.value_type) else pa.float32()
