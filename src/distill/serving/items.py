"""Item vectors that were computed ahead, by raw key; they belong to one version of a model."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from distill.encodings.arrow import Int64
from distill.errors import DataError
from distill.files import hash_bytes
from distill.places.here import folder_here
from distill.sealed import read_sealed, write_sealed
from distill.serving.columns import Values
from distill.serving.inputs import CANDIDATE
from distill.serving.item_keys import ItemKeys, check_count, read_keys, read_table
from distill.serving.manifest import check_files

ITEMS_FILE, TABLE, VECTORS, SCALES = "items.json", "items.parquet", "vectors.npy", "scales.npy"
REMOVED, GOLDEN = "removed.parquet", "golden.parquet"
ItemType = Literal["float32", "float16", "int8"]
Float32 = npt.NDArray[np.float32]


class ItemsManifest(BaseModel):
    """What `items.json` holds.

    Attributes:
        version: Of the model that made the vectors.
        key: Raw column of the item keys.
        type: How vectors are stored; of int8 each vector of a task has a scale.
        count: Items.
        shape: Of a vector.
        delta: Whether these are changed and new items only, and `removed.parquet` names those that are gone.
        base: Of a delta: fingerprint of the vectors that it changes.
        overlap: Of the best items of golden requests, the share that float32 vectors give too; None if not measured.
        best: How many best items that is of.
        files: Hash of each file.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    format: Literal["distill-items"] = "distill-items"
    format_version: Literal[1] = 1
    version: str
    key: str
    type: ItemType
    count: int = Field(ge=0)
    shape: tuple[int, ...]
    delta: bool = False
    base: str | None = None
    overlap: float | None = None
    best: int = 100
    files: dict[Literal["items.parquet", "vectors.npy", "scales.npy", "removed.parquet", "golden.parquet"], str]

    @model_validator(mode="after")
    def _check_hashed(self) -> ItemsManifest:
        needed = {TABLE, VECTORS, *([SCALES] if self.type == "int8" else [])}
        if missing := sorted(needed - self.files.keys()):
            raise ValueError(f"no hash of {missing[0]}")
        return self

    @property
    def fingerprint(self) -> str:
        """Hash of the content of all files."""
        return hash_bytes(json.dumps(self.files, sort_keys=True).encode())

    def write(self, root: Path) -> None:
        """Writes `items.json`."""
        write_sealed(root / ITEMS_FILE, self.model_dump(mode="json"))


class StoredItems(Protocol):
    """What a bundle asks of items that are stored by key, whatever is stored of each (see `ItemVectors`)."""

    @property
    def version(self) -> str: ...

    @property
    def key(self) -> str: ...

    def positions(self, keys: Values) -> Int64: ...

    def inputs(self, keys: Values) -> dict[str, npt.NDArray[Any]]: ...


@dataclass(frozen=True)
class _Stored:
    """Vectors in one file: `[n, …]`, and of int8 the scale of each `[n, …, 1]`."""

    vectors: npt.NDArray[Any]
    scales: Float32 | None

    def take(self, rows: Int64) -> Float32:
        found: Float32 = np.take(self.vectors, rows, axis=0).astype(np.float32, copy=False)
        return found if self.scales is None else found * self.scales[rows]


@dataclass(frozen=True)
class ItemVectors:
    """Vectors of a catalogue.

    Attributes:
        version: Of the model that made them.
        key: Raw column of the item keys.
        type: How they are stored.
        shape: Of a vector.
        golden: Raw columns of the first items, by which a bundle proves that these are its vectors.
        fingerprint: Of their files; a delta names that of the vectors which it changes.
    """

    version: str
    key: str
    type: ItemType
    shape: tuple[int, ...]
    golden: pa.Table | None
    fingerprint: str
    _keys: ItemKeys
    _row: Int64
    _stored: tuple[_Stored, ...]

    def __len__(self) -> int:
        return int((self._row >= 0).sum())

    @classmethod
    def load(cls, root: str | Path, version: str | None = None, check: bool = True) -> ItemVectors:
        """Opens the item vectors of a folder; they stay on disk and are read where they are asked for.

        Args:
            root: The folder, or its URI; a delta is none.
            version: Of the model that is to use them.
            check: Whether the files are compared with their hashes.

        Raises:
            DataError: They are of another version, or damaged.
        """
        root = folder_here(root, "root")
        found = _read(root, version, check)
        if found.delta:
            raise DataError(
                "These are the changed items of a catalogue, not all of it.",
                where=str(root),
                remedy="Load the whole catalogue, then `updated(DELTA)`.",
            )
        keys = read_keys(root / TABLE)
        check_count(root / TABLE, keys, found.count)
        stored = (_open(root, found),)
        golden = read_table(root / GOLDEN) if GOLDEN in found.files else None
        own = (found.version, found.key, found.type, found.shape, golden, found.fingerprint)
        return cls(*own, ItemKeys(found.key, keys), np.arange(len(keys)), stored)

    def updated(self, delta: str | Path, check: bool = True) -> ItemVectors:
        """Returns the vectors with those of a delta in place of and beside the own ones.

        Raises:
            DataError: The delta is of another version, of vectors of another shape, or of other vectors than these.
        """
        delta = folder_here(delta, "delta")
        found = _read(delta, self.version, check)
        if found.shape != self.shape or found.key != self.key:
            raise DataError(
                "Item vectors do not go together.",
                where=str(delta),
                expected=f"{self.key}, {self.shape}",
                found=f"{found.key}, {found.shape}",
            )
        if found.delta and found.base != self.fingerprint:
            raise DataError(
                "A delta changes other item vectors than these: items that it does not name may be out of date.",
                where=str(delta),
                expected=f"a delta of {self.fingerprint}",
                found=f"a delta of {found.base}",
                remedy="Apply it to the vectors that were its base=, or export the whole catalogue.",
            )
        first_row = self.num_rows
        keys = read_keys(delta / TABLE)
        check_count(delta / TABLE, keys, found.count)
        rows = self._row.copy()
        if found.delta and "removed.parquet" in found.files:
            gone = self._keys.find_array(read_keys(delta / REMOVED))
            rows[gone[gone >= 0]] = -1
        elif not found.delta:
            rows[:] = -1
        place = self._keys.find_array(keys)
        rows[place[place >= 0]] = first_row + np.flatnonzero(place >= 0)
        new = np.flatnonzero(place < 0)
        stored = (*self._stored, _open(delta, found))
        return replace(
            self,
            fingerprint=hash_bytes(f"{self.fingerprint} {found.fingerprint}".encode()),
            _keys=self._keys.with_more(keys.take(pa.array(new))),
            _row=np.concatenate([rows, first_row + new]),
            _stored=stored,
        )

    def positions(self, keys: Values) -> Int64:
        """Returns where the vectors of items are `[N]`; -1 of an item without one.

        Args:
            keys: Raw keys `[N]`.

        Raises:
            DataError: Keys are of another type than those of the catalogue.
        """
        ids = self._keys.find(keys)
        if len(self._stored) == 1:  # positions are places in the file
            return ids
        return np.where(ids >= 0, self._row[ids], -1) if len(self._row) else ids

    @property
    def num_rows(self) -> int:
        """How many vectors there are, those that a delta replaced among them: positions are below."""
        return sum(len(part.vectors) for part in self._stored)

    def known_positions(self, keys: Values) -> Int64:
        """Returns where the vectors of items are `[N]`; see `positions`.

        Raises:
            DataError: An item has none.
        """
        positions = self.positions(keys)
        self._keys.check_known(positions, keys, "vector")
        return positions

    def of(self, keys: Values) -> Float32:
        """Returns the vectors of items `[N, …]` as float32.

        Raises:
            DataError: An item has none.
        """
        return self.take(self.known_positions(keys))

    def inputs(self, keys: Values) -> dict[str, npt.NDArray[Any]]:
        """Returns the vectors of items as programs take them; see `of`."""
        return {CANDIDATE: self.of(keys)}

    def take(self, positions: Int64) -> Float32:
        """Returns vectors by position `[N, …]` as float32."""
        if len(self._stored) == 1:
            return self._stored[0].take(positions)
        out = np.empty((len(positions), *self.shape), np.float32)
        start = 0
        for part in self._stored:
            inside = (positions >= start) & (positions < start + len(part.vectors))
            out[inside] = part.take(positions[inside] - start)
            start += len(part.vectors)
        return out

    def keys(self) -> pa.Array:
        """Returns the raw keys of all items, in the order of `positions`."""
        alive = np.flatnonzero(self._row >= 0)
        return self._keys.values.take(pa.array(alive[np.argsort(self._row[alive])]))


def read_items_manifest(root: Path) -> ItemsManifest:
    """Reads `items.json`.

    Raises:
        DataError: There is none, or it is damaged.
    """
    path = root / ITEMS_FILE
    try:
        return ItemsManifest.model_validate(read_sealed(path, ("format_version", 1)))
    except (OSError, ValueError, ValidationError) as error:
        raise DataError(
            "The folder holds no item vectors.",
            where=str(path),
            found="no file" if isinstance(error, FileNotFoundError) else " ".join(str(error).split())[:300],
            remedy="Export them with scripts/export.py what=items.",
        ) from error


def check_version(found: str, wanted: str, where: str) -> None:
    """Compares the version of something with that of the model that is to use it.

    Raises:
        DataError: They differ: vectors of two models do not go together.
    """
    if found != wanted:
        raise DataError(
            "These vectors are of another version of the model.",
            where=where,
            expected=f"version {wanted}",
            found=f"version {found}",
            remedy="Export the vectors with the checkpoint that the bundle was made of.",
        )


def _read(root: Path, version: str | None, check: bool) -> ItemsManifest:
    found = read_items_manifest(root)
    if version is not None:
        check_version(found.version, version, str(root / ITEMS_FILE))
    if check:
        check_files(root, {str(name): digest for name, digest in found.files.items()})
    return found


def _open(root: Path, found: ItemsManifest) -> _Stored:
    try:
        vectors = np.asarray(np.load(root / VECTORS, mmap_mode="r" if found.count else None, allow_pickle=False))
        scales = np.load(root / SCALES, allow_pickle=False) if found.type == "int8" else None
    except (OSError, ValueError) as error:
        raise DataError("Item vectors cannot be read.", where=str(root / VECTORS), found=str(error)[:300]) from error
    expected = (found.count, *found.shape)
    if vectors.shape != expected or vectors.dtype != np.dtype(found.type):
        raise DataError(
            "Item vectors have another shape than their description says.",
            where=str(root / VECTORS),
            expected=f"{found.type} {expected}",
            found=f"{vectors.dtype} {vectors.shape}",
        )
    if scales is not None and (scales.shape != (*expected[:-1], 1) or scales.dtype != np.float32):
        raise DataError(
            "Scales of item vectors have another shape than the vectors.",
            where=str(root / SCALES),
            expected=f"float32 {(*expected[:-1], 1)}",
            found=f"{scales.dtype} {scales.shape}",
        )
    return _Stored(vectors, scales)
