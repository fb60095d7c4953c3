"""Columns within columns: fields of structs, and of the structs in lists, by a path such as `candidates[].sku`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from distill.data.prepare.raw_file import RawFile
from distill.encodings.arrow import combine, is_list, map_values
from distill.errors import DataError

_PATH = re.compile(r"[^.\[\]]+(\[\])*(\.[^.\[\]]+(\[\])*)*")
_STEP = re.compile(r"[^.\[\]]+|\[\]")
_MOST_SHOWN = 20


def roots_of(names: Sequence[str]) -> list[str]:
    """Lists the columns that hold what paths lead to; names that are not paths are left out."""
    return list(dict.fromkeys(_STEP.findall(name)[0] for name in names if _is_path(name)))


def with_paths(file: RawFile, needed: Sequence[str]) -> RawFile:
    """Returns a file with the columns that paths lead to; the file itself if there are none.

    Args:
        file: Of a format that knows structs.
        needed: Columns that are read. What is a column of the file by its full name is not a path.

    Raises:
        DataError: A path starts in a column of structs and leads nowhere.
    """
    names = set(file.schema.names)
    paths = [name for name in dict.fromkeys(needed) if name not in names and _is_path(name)]
    found = {name: kind for name in paths if (kind := _type_of(file, name)) is not None}
    return PathFile(file, found) if found else file


class Leaves(NamedTuple):
    """The paths to what is in a column of structs and is not a struct itself.

    Attributes:
        named: Those that lead there.
        others: Those that do not: a name on the way holds a dot or a bracket, or the path is the full name of a column.
    """

    named: list[str]
    others: list[str]


def leaves_of(schema: pa.Schema) -> dict[str, Leaves]:
    """Returns the paths into each column of structs, or of lists of them."""
    found = {}
    for column in schema:
        if any(pa.types.is_struct(kind) for kind in _levels(column.type)):
            paths = list(_leaves(column.type, column.name))
            named = [path for path in paths if path not in schema.names and _leads(path, column)]
            found[column.name] = Leaves(named, [path for path in paths if path not in named])
    return found


class PathFile:
    """A file with the columns that paths lead to, beside its own.

    Args:
        file: The file.
        paths: Path to the type of what is there.
    """

    def __init__(self, file: RawFile, paths: Mapping[str, pa.DataType]) -> None:
        self._file, self._paths = file, paths
        self._steps = {name: _STEP.findall(name) for name in paths}
        self.path: Path = file.path
        self.num_rows = file.num_rows
        self.schema = pa.schema([*file.schema, *(pa.field(name, kind) for name, kind in paths.items())])

    def memory(self, columns: Sequence[str]) -> int:
        """Estimates the bytes of some columns in memory."""
        return self._file.memory(self._stored(columns))

    def locate(self, row: int) -> str:
        """Names a row of the file."""
        return self._file.locate(row)

    def batches(
        self, columns: Sequence[str], batch_bytes: int, dictionaries: Sequence[str] = (), start: int = 0
    ) -> Iterator[pa.RecordBatch]:
        """Streams some columns from a row on, in batches of about so many bytes at most.

        Raises:
            DataError: The file cannot be read.
        """
        plain = [name for name in dictionaries if name not in self._paths]
        for batch in self._file.batches(self._stored(columns), batch_bytes, plain, start):
            yield pa.RecordBatch.from_arrays([self._column(batch, name) for name in columns], names=list(columns))

    def _stored(self, columns: Sequence[str]) -> list[str]:
        return list(dict.fromkeys(self._steps[name][0] if name in self._paths else name for name in columns))

    def _column(self, batch: pa.RecordBatch, name: str) -> pa.Array:
        if name not in self._paths:
            return batch.column(name)
        root, *steps = self._steps[name]
        return _follow(batch.column(root), steps).cast(self._paths[name])


def _follow(array: pa.Array, steps: Sequence[str]) -> pa.Array:
    """Takes what a path leads to: the value of a null struct is null, a null list stays null."""
    if not steps:
        return array
    if steps[0] == "[]":
        return map_values(array, lambda values: _follow(values, steps[1:]))
    return _follow(combine(pc.struct_field(array, [steps[0]])), steps[1:])


def _is_path(name: str) -> bool:
    return ("." in name or "[]" in name) and _PATH.fullmatch(name) is not None


def _type_of(file: RawFile, name: str) -> pa.DataType | None:
    """Returns the type of what a path leads to; None if it does not start in a column of structs."""
    root, *steps = _STEP.findall(name)
    if file.schema.names.count(root) != 1:
        return None
    stored = file.schema.field(root).type
    if not any(pa.types.is_struct(kind) for kind in _levels(stored)):
        return None
    found = _at(stored, steps)
    if found is None:
        known = list(_leaves(stored, root))
        raise DataError(
            "The path of a raw column leads nowhere.",
            where=f"{file.path}, column {name!r}",
            expected=", ".join(known[:_MOST_SHOWN]) + (", …" if len(known) > _MOST_SHOWN else ""),
            found=f"{root}: {stored}"[:300],
            remedy="Correct the path in the schema: a dot leads into a struct, [] into the values of a list.",
        )
    return found


def _leads(path: str, column: pa.Field) -> bool:
    """Whether a path that was put together from names is taken apart into the same ones."""
    root, *steps = _STEP.findall(path)
    return _is_path(path) and root == column.name and _at(column.type, steps) is not None


def _levels(kind: pa.DataType) -> Iterator[pa.DataType]:
    yield kind
    if is_list(kind):
        yield from _levels(kind.value_type)


def _at(kind: pa.DataType, steps: Sequence[str]) -> pa.DataType | None:
    if not steps:
        return kind
    if steps[0] == "[]":
        inner = _at(kind.value_type, steps[1:]) if is_list(kind) else None
        return None if inner is None else pa.list_(inner)
    if not pa.types.is_struct(kind) or (index := kind.get_field_index(steps[0])) < 0:
        return None
    return _at(kind.field(index).type, steps[1:])


def _leaves(kind: pa.DataType, path: str) -> Iterator[str]:
    """Lists the paths to all that is not a struct."""
    if pa.types.is_struct(kind):
        for index in range(kind.num_fields):
            yield from _leaves(kind.field(index).type, f"{path}.{kind.field(index).name}")
    elif is_list(kind) and any(pa.types.is_struct(inner) for inner in _levels(kind)):
        yield from _leaves(kind.value_type, f"{path}[]")
    else:
        yield path
