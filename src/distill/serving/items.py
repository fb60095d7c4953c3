"""Item vectors that were computed ahead, by raw key; they belong to one version of a model."""

from __future__ import annotations

import json
from array import array
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from distill.encodings.arrow import Int64, is_text, null_mask, to_plain
from distill.encodings.key_table import KeyTable
from distill.encodings.place import Place
from distill.encodings.values import first, to_id_values
from distill.errors import DataError
from distill.files import hash_bytes
from distill.sealed import read_sealed, write_sealed
from distill.serving.columns import Values, as_array
from distill.serving.manifest import check_files

ITEMS_FILE, TABLE, VECTORS, SCALES = "items.json", "items.parquet", "vectors.npy", "scales.npy"
REMOVED, GOLDEN = "removed.parquet", "golden.parquet"
KEY = "key"
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


class VectorsByKey(Protocol):
    """What a bundle asks of item vectors, wherever they are kept (see `ItemVectors`)."""

    @property
    def version(self) -> str: ...

    @property
    def key(self) -> str: ...

    def positions(self, keys: Values) -> Int64: ...

    def of(self, keys: Values) -> Float32: ...


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
    _known: KeyTable
    _row: Int64
    _stored: tuple[_Stored, ...]

    def __len__(self) -> int:
        return int((self._row >= 0).sum())

    @classmethod
    def load(cls, root: str | Path, version: str | None = None, check: bool = True) -> ItemVectors:
        """Opens the item vectors of a folder; they stay on disk and are read where they are asked for.

        Args:
            root: The folder; a delta is none.
            version: Of the model that is to use them.
            check: Whether the files are compared with their hashes.

        Raises:
            DataError: They are of another version, or damaged.
        """
        root = Path(root)
        found = _read(root, version, check)
        if found.delta:
            raise DataError(
                "These are the changed items of a catalogue, not all of it.",
                where=str(root),
                remedy="Load the whole catalogue, then `updated(DELTA)`.",
            )
        keys = _keys(root, TABLE)
        _check_count(root, found, keys)
        stored = (_open(root, found),)
        golden = _table(root / GOLDEN) if GOLDEN in found.files else None
        own = (found.version, found.key, found.type, found.shape, golden, found.fingerprint)
        return cls(*own, KeyTable(keys), np.arange(len(keys)), stored)

    def updated(self, delta: str | Path, check: bool = True) -> ItemVectors:
        """Returns the vectors with those of a delta in place of and beside the own ones.

        Raises:
            DataError: The delta is of another version, of vectors of another shape, or of other vectors than these.
        """
        delta = Path(delta)
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
        first_row = sum(len(part.vectors) for part in self._stored)
        keys = _keys(delta, TABLE)
        _check_count(delta, found, keys)
        rows = self._row.copy()
        if found.delta and "removed.parquet" in found.files:
            gone = self._ids(_keys(delta, REMOVED))
            rows[gone[gone >= 0]] = -1
        elif not found.delta:
            rows[:] = -1
        place = self._ids(keys)
        rows[place[place >= 0]] = first_row + np.flatnonzero(place >= 0)
        new = np.flatnonzero(place < 0)
        own = self._known.keys
        values = pa.concat_arrays([own, keys.take(pa.array(new))][0 if len(own) else 1 :]) if len(new) else own
        stored = (*self._stored, _open(delta, found))
        return replace(
            self,
            fingerprint=hash_bytes(f"{self.fingerprint} {found.fingerprint}".encode()),
            _known=KeyTable(values),
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
        ids = self._plain_integers(keys)
        if ids is None:
            ids = self._ids(as_array(keys, f"items, column {self.key!r}"))
        if len(self._stored) == 1:  # positions are places in the file
            return ids
        return np.where(ids >= 0, self._row[ids], -1) if len(self._row) else ids

    def of(self, keys: Values) -> Float32:
        """Returns the vectors of items `[N, …]` as float32.

        Raises:
            DataError: An item has none.
        """
        positions = self.positions(keys)
        if (row := first(positions < 0)) >= 0:
            raise DataError(
                "An item has no vector.",
                where=f"items, column {self.key!r}, row {row}",
                found=repr(as_array(keys, self.key)[row].as_py()),
                remedy="Export the catalogue again, or a delta of it; or give the item's raw columns.",
            )
        return self.take(positions)

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
        return self._known.keys.take(pa.array(alive[np.argsort(self._row[alive])]))

    def _plain_integers(self, keys: Values) -> Int64 | None:
        """Finds a list of plain integers without a detour; None of anything else."""
        if self._known.is_text or type(keys) is not list:
            return None
        try:
            return self._known.find_integers(np.frombuffer(array("q", keys), np.int64))
        except (TypeError, OverflowError):
            return None

    def _ids(self, keys: pa.Array) -> Int64:
        place = Place(self.key, "item key")
        values = to_id_values(keys, place)
        if pa.types.is_dictionary(values.type):
            values = values.dictionary_decode()
        if values.null_count:
            return np.where(null_mask(values), -1, self._ids(values.fill_null("" if is_text(values.type) else 0)))
        if is_text(values.type) != self._known.is_text and len(values):
            if len(self._known.keys) == 0:
                return np.full(len(values), -1, np.int64)
            raise DataError(
                "Item keys are of another type than those of the catalogue.",
                where=place.at(0),
                expected="string" if self._known.is_text else "int",
                found="string" if is_text(values.type) else "int",
            )
        return self._known.find(values)


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


def _keys(root: Path, name: str) -> pa.Array:
    table = _table(root / name, [KEY])
    return to_id_values(to_plain(table[KEY]), Place(KEY, "item key"))


def _table(path: Path, columns: list[str] | None = None) -> pa.Table:
    try:
        return pq.read_table(path, columns=columns)
    except (OSError, pa.ArrowException) as error:
        raise DataError(
            "Item vectors cannot be read.", where=str(path), found=" ".join(str(error).split())[:300]
        ) from error


def _check_count(root: Path, found: ItemsManifest, keys: pa.Array) -> None:
    if len(keys) != found.count or keys.null_count:
        raise DataError(
            "Item vectors have other keys than their description says.",
            where=str(root / TABLE),
            expected=f"{found.count} keys",
            found=f"{len(keys)}, {keys.null_count} of them null",
        )


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
