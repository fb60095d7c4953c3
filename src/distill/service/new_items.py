"""What would be stored of items that came after the catalogue, shared by the workers of a service.

A file for each version of the model holds them. It is written whole under a lock and renamed, and each worker looks at
its identity before it scores: after /items has answered, every worker knows the items.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from filelock import FileLock

from distill.errors import DataError
from distill.files import temporary_sibling
from distill.serving.items import StoredItems

Arrays = dict[str, npt.NDArray[Any]]
_Identity = tuple[int, int, int]


@dataclass(frozen=True)
class Layer:
    """New items of one version.

    Attributes:
        rows: Key to the place of what is stored of it.
        arrays: Inputs of programs by name `[n, …]`: vectors, or encoded features.
    """

    rows: dict[Any, int]
    arrays: Arrays

    def merged(self, keys: Sequence[Any], arrays: Arrays, most: int) -> Layer:
        """Returns a layer with other items in place of and beside its own.

        Raises:
            DataError: It would be too many, or keys of two types.
        """
        rows = dict(self.rows)
        for key in keys:
            rows.setdefault(key, len(rows))
        if len(rows) > most:
            raise DataError(
                "There are more new items than the service holds.",
                where="body, items",
                expected=f"at most {most}",
                found=f"{len(rows)}",
                remedy="Export the catalogue again, and swap to it.",
            )
        if len({type(key) for key in rows}) > 1:
            raise DataError(
                "Item keys must be all text or all integers.", where="body, items", expected="those of earlier items"
            )
        given, own = np.array([rows[key] for key in keys], np.int64), np.arange(len(self.rows))
        kept = np.setdiff1d(own, given)
        before = {name: array[kept] for name, array in self.arrays.items()}
        return Layer(rows, _joined(len(rows), (given, arrays), (kept, before)))

    def write(self, path: Path) -> None:
        """Writes it whole."""
        columns: dict[str, Any] = {"key": list(self.rows)}
        shapes = {}
        for place, (name, array) in enumerate(self.arrays.items()):
            columns[f"array{place}"] = [np.ascontiguousarray(row).tobytes() for row in array]
            shapes[f"array{place}"] = [name, str(array.dtype), list(array.shape[1:])]
        table = pa.table(columns)
        schema = table.schema.with_metadata({"arrays": json.dumps(shapes)})
        temporary = temporary_sibling(path)
        with pa.OSFile(str(temporary), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
            writer.write_table(table.cast(schema))
        os.replace(temporary, path)  # noqa: PTH105

    @classmethod
    def read(cls, path: Path) -> Layer:
        """Reads what `write` wrote."""
        with pa.OSFile(str(path)) as source:
            table = pa.ipc.open_file(source).read_all()
        keys = table["key"].to_pylist()
        arrays = {
            name: np.frombuffer(b"".join(table[column].to_pylist()), dtype).reshape(len(keys), *shape)
            for column, (name, dtype, shape) in json.loads(table.schema.metadata[b"arrays"]).items()
        }
        return cls({key: row for row, key in enumerate(keys)}, arrays)


class NewItems:
    """New items by version of the model.

    Args:
        folder: Shared by the workers.
        most: Items of a version.
    """

    def __init__(self, folder: Path, most: int) -> None:
        self._folder, self._most = folder, most
        self._known: dict[str, tuple[_Identity, Layer]] = {}
        self._paths: dict[str, str] = {}

    def of(self, version: str) -> Layer | None:
        """Returns the new items of a version; None if there are none."""
        path = self._paths.get(version)
        if path is None:
            path = self._paths[version] = str(self._path(version))
        try:
            stat = os.stat(path)  # noqa: PTH116, for each request: a text is faster
        except FileNotFoundError:
            return None
        identity = (stat.st_ino, stat.st_mtime_ns, stat.st_size)
        known = self._known.get(version)
        if known is None or known[0] != identity:
            known = identity, Layer.read(Path(path))
            self._known[version] = known
        return known[1]

    def put(self, version: str, keys: Sequence[Any], arrays: Arrays) -> int:
        """Takes items in; returns how many there are now.

        Raises:
            DataError: They are too many.
        """
        with FileLock(self._folder / "new_items.lock"):
            layer = (self.of(version) or Layer({}, {})).merged(keys, arrays, self._most)
            layer.write(self._path(version))
        return len(layer.rows)

    def forget(self, kept: set[str]) -> None:
        """Forgets the items of all versions but some."""
        for path in self._folder.glob("*.new_items"):
            if path.stem not in kept:
                path.unlink(missing_ok=True)
        self._known = {version: known for version, known in self._known.items() if version in kept}

    def _path(self, version: str) -> Path:
        return self._folder / f"{version}.new_items"


@dataclass(frozen=True)
class LayeredItems:
    """Stored items, and new ones in front of them: `StoredItems` of a bundle.

    Attributes:
        version: Of the model.
        key: Raw column of the item keys.
        stored: Of the catalogue, if there is one.
        layer: New ones, if there are any.
    """

    version: str
    key: str
    stored: StoredItems | None
    layer: Layer | None

    def positions(self, keys: Sequence[Any]) -> npt.NDArray[np.int64]:
        """Returns where the vectors of items are `[N]`, new ones first; -1 of an item without one.

        Raises:
            DataError: Keys are of another type than those of the catalogue.
        """
        found = np.full(len(keys), -1, np.int64) if self.stored is None else self.stored.positions(keys)
        if self.layer is None:
            return found
        new = self._rows(self.layer, keys)
        return np.where(new >= 0, new, np.where(found >= 0, found + len(self.layer.rows), -1))

    def inputs(self, keys: Sequence[Any] | pa.Array | pa.ChunkedArray) -> Arrays:
        """Returns what is stored of items as programs take it.

        Raises:
            DataError: Nothing is stored of an item.
        """
        if isinstance(keys, pa.Array | pa.ChunkedArray):  # a column whose type is declared
            keys = keys.to_pylist()
        if self.layer is None:
            assert self.stored is not None
            return self.stored.inputs(keys)
        rows = self._rows(self.layer, keys)
        new, others = np.flatnonzero(rows >= 0), np.flatnonzero(rows < 0)
        found = {name: array[rows[new]] for name, array in self.layer.arrays.items()}
        if len(others) == 0:
            return found
        left = [keys[row] for row in others.tolist()]
        if self.stored is None:
            raise DataError("Nothing is stored of an item.", where=f"items, row {others[0]}", found=repr(left[0])[:100])
        return _joined(len(keys), (others, self.stored.inputs(left)), (new, found))

    @staticmethod
    def _rows(layer: Layer, keys: Sequence[Any]) -> npt.NDArray[np.int64]:
        get = layer.rows.get
        return np.array([get(key, -1) for key in keys], np.int64)


def _joined(count: int, *parts: tuple[npt.NDArray[np.int64], Arrays]) -> Arrays:
    """Puts rows of inputs where they belong; sequences are as long as the longest.

    Args:
        count: Rows of all parts.
        parts: Where rows belong, and the rows; the first part names all inputs.
    """
    out: Arrays = {}
    for name, first in parts[0][1].items():
        own = [(rows, arrays[name]) for rows, arrays in parts if len(rows)]
        shape = np.max([array.shape[1:] for _, array in own], axis=0).astype(int) if own else first.shape[1:]
        out[name] = np.zeros((count, *shape), first.dtype)
        for rows, array in own:
            place: tuple[Any, ...] = (rows, *map(slice, array.shape[1:]))
            out[name][place] = array
    return out
