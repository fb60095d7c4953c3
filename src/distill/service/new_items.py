"""Vectors of items that came after the catalogue, shared by the workers of a service.

A file for each version of the model holds them. It is written whole under a lock and renamed, and each worker looks at
its identity before it scores: after /items has answered, every worker knows the items.
"""

from __future__ import annotations

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
from distill.serving.inputs import CANDIDATE
from distill.serving.items import StoredItems

Float32 = npt.NDArray[np.float32]
_Identity = tuple[int, int, int]


@dataclass(frozen=True)
class Layer:
    """New items of one version.

    Attributes:
        rows: Key to the place of its vector.
        vectors: `[n, …]`.
    """

    rows: dict[Any, int]
    vectors: Float32

    def merged(self, keys: Sequence[Any], vectors: Float32, most: int) -> Layer:
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
            raise DataError("Item keys are texts, or integers.", where="body, items", expected="those of earlier items")
        out = np.empty((len(rows), *vectors.shape[1:]), np.float32)
        out[: len(self.rows)] = self.vectors
        out[[rows[key] for key in keys]] = vectors
        return Layer(rows, out)

    def write(self, path: Path) -> None:
        """Writes it whole."""
        flat = np.ascontiguousarray(self.vectors)
        table = pa.table({"key": list(self.rows), "vector": [row.tobytes() for row in flat]})
        schema = table.schema.with_metadata({"shape": ",".join(map(str, flat.shape[1:]))})
        temporary = temporary_sibling(path)
        with pa.OSFile(str(temporary), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
            writer.write_table(table.cast(schema))
        os.replace(temporary, path)  # noqa: PTH105

    @classmethod
    def read(cls, path: Path) -> Layer:
        """Reads what `write` wrote."""
        with pa.OSFile(str(path)) as source:
            table = pa.ipc.open_file(source).read_all()
        shape = [int(n) for n in table.schema.metadata[b"shape"].decode().split(",")]
        keys = table["key"].to_pylist()
        vectors = np.frombuffer(b"".join(table["vector"].to_pylist()), np.float32).reshape(len(keys), *shape)
        return cls({key: row for row, key in enumerate(keys)}, vectors)


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

    def put(self, version: str, keys: Sequence[Any], vectors: Float32) -> int:
        """Takes items in; returns how many there are now.

        Raises:
            DataError: They are too many.
        """
        with FileLock(self._folder / "new_items.lock"):
            before = self.of(version) or Layer({}, np.empty((0, *vectors.shape[1:]), np.float32))
            layer = before.merged(keys, vectors, self._most)
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
    """Stored vectors, and new ones in front of them: `StoredItems` of a bundle.

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

    def inputs(self, keys: Sequence[Any] | pa.Array | pa.ChunkedArray) -> dict[str, npt.NDArray[Any]]:
        """Returns what is stored of items as programs take it; of new ones these are vectors `[N, …]`.

        Raises:
            DataError: An item has none.
        """
        if isinstance(keys, pa.Array | pa.ChunkedArray):  # a column whose type is declared
            keys = keys.to_pylist()
        if self.layer is None:
            assert self.stored is not None
            return self.stored.inputs(keys)
        rows = self._rows(self.layer, keys)
        others = np.flatnonzero(rows < 0)
        out = self.layer.vectors[rows]
        if len(others) == 0:
            return {CANDIDATE: out}
        left = [keys[row] for row in others.tolist()]
        if self.stored is None:
            raise DataError("An item has no vector.", where=f"items, row {others[0]}", found=repr(left[0])[:100])
        out[others] = self.stored.inputs(left)[CANDIDATE]
        return {CANDIDATE: out}

    @staticmethod
    def _rows(layer: Layer, keys: Sequence[Any]) -> npt.NDArray[np.int64]:
        get = layer.rows.get
        return np.array([get(key, -1) for key in keys], np.int64)
