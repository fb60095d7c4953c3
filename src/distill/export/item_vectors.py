"""Writes the vectors of a catalogue: all of it, or what changed since another export of the same version."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from distill.data.prepare.progress import PassProgress
from distill.errors import DataError
from distill.export.catalogue import GOLDEN_ROWS, Catalogue, changed_rows, check_distinct
from distill.export.npy import NpyWriter
from distill.export.overlap import BEST, measure_overlap
from distill.export.pieces import ItemPiece
from distill.export.quantise import restored, store_as
from distill.serving.item_keys import KEY
from distill.serving.items import (
    GOLDEN,
    REMOVED,
    SCALES,
    TABLE,
    VECTORS,
    Float32,
    ItemsManifest,
    ItemType,
    ItemVectors,
    check_version,
)
from distill.serving.manifest import hash_files

_SAMPLE = 10_000


@dataclass(frozen=True)
class Written:
    """What was written.

    Attributes:
        count: Items whose vectors were written.
        seen: Items of the catalogue.
        removed: Items of the base that are gone.
    """

    count: int
    seen: int
    removed: int


def write_items(
    root: Path, catalogue: Catalogue, kind: ItemType, bars: PassProgress, base: ItemVectors | None, is_whole: bool
) -> Written:
    """Writes item vectors, as a stream.

    Args:
        root: An empty folder.
        catalogue: The items.
        kind: How vectors are stored.
        bars: For progress.
        base: Vectors that are there already: then only changed and new items are written.
        is_whole: With a base: whether the catalogue holds all items, so that others of the base are gone.

    Raises:
        DataError: The base is of another version, or an item stands twice.
    """
    key, shape = catalogue.key, catalogue.shape()
    if base is not None:
        check_version(base.version, catalogue.trained.version, "base")
    writer = _Writer(root, shape, kind)
    keys: list[pa.Array] = []
    with writer:
        for piece in catalogue.pieces(bars):
            keys.append(piece.keys)
            writer.add(piece if base is None else _changed(piece, base))
    seen = pa.chunked_array(keys) if keys else pa.chunked_array([], pa.int64())
    check_distinct(seen, catalogue.source, key)
    gone = _gone(base, seen) if base is not None and is_whole else None
    if gone is not None:
        pq.write_table(pa.table({KEY: gone}), root / REMOVED)
    files = [
        TABLE,
        VECTORS,
        *([GOLDEN] if writer.count else []),
        *([SCALES] if kind == "int8" else []),
        *([] if gone is None else [REMOVED]),
    ]
    exact = np.concatenate([np.zeros((0, *shape), np.float32), *writer.sample])[:_SAMPLE]
    ItemsManifest(
        version=catalogue.trained.version,
        key=key,
        type=kind,
        count=writer.count,
        shape=shape,
        delta=base is not None,
        base=None if base is None else base.fingerprint,
        overlap=measure_overlap(catalogue.trained, exact, restored(*store_as(exact, kind))),
        best=BEST,
        files=hash_files(root, files),
    ).write(root)
    return Written(writer.count, len(seen), 0 if gone is None else len(gone))


def _changed(piece: ItemPiece, base: ItemVectors) -> ItemPiece:
    position = base.positions(piece.keys)
    known = position >= 0
    keep = ~known
    before = base.take(position[known])
    now = piece.vectors[known]
    if base.type != "float32":  # as they are stored: what rounding makes equal has not changed
        now = restored(*store_as(now, base.type))
    keep[known] = changed_rows(now, before)
    return piece.filter(keep)


def _gone(base: ItemVectors, seen: pa.ChunkedArray) -> pa.Array:
    own = base.keys()
    if len(seen) == 0:
        return own
    if len(own) == 0:
        return own
    if own.type != seen.type:
        raise DataError(
            "Item keys have another type than before.", where="items", found=str(seen.type), expected=str(own.type)
        )
    return own.filter(pa.compute.invert(pa.compute.is_in(own, value_set=seen)))


class _Writer:
    """Keys and vectors in a Parquet file, and the vectors as an array that is mapped into memory."""

    def __init__(self, root: Path, shape: tuple[int, ...], kind: ItemType) -> None:
        self._root, self._shape, self._kind = root, shape, kind
        self._vectors = NpyWriter(root / VECTORS, shape, kind)
        self._scales = NpyWriter(root / SCALES, (*shape[:-1], 1), np.float32) if kind == "int8" else None
        self._table: pq.ParquetWriter | None = None
        self.count = 0
        self.sample: list[Float32] = []

    def __enter__(self) -> _Writer:
        self._vectors.__enter__()
        if self._scales is not None:
            self._scales.__enter__()
        return self

    def __exit__(self, *raised: object) -> None:
        if self._table is None and raised[0] is None:
            self.add(ItemPiece(pa.array([], pa.int64()), np.zeros((0, *self._shape), np.float32), pa.table({})))
        if self._table is not None:
            self._table.close()
        self._vectors.__exit__(*raised)
        if self._scales is not None:
            self._scales.__exit__(*raised)

    def add(self, piece: ItemPiece) -> None:
        """Adds items."""
        with np.errstate(over="ignore", invalid="ignore"):
            stored, scales = store_as(piece.vectors, self._kind)
        self._check_finite(piece, stored if scales is None else scales)
        self._vectors.append(stored)
        columns = {KEY: piece.keys, "vector": _lists(stored)}
        if self._scales is not None and scales is not None:
            self._scales.append(scales)
            columns["scale"] = _lists(scales)
        table = pa.table(columns)
        if self.count == 0 and len(piece.keys):
            pq.write_table(piece.raw.slice(0, GOLDEN_ROWS), self._root / GOLDEN)
        if self._table is None:
            self._table = pq.ParquetWriter(self._root / TABLE, table.schema, compression="zstd")
        self._table.write_table(table)
        if sum(map(len, self.sample)) < _SAMPLE:
            self.sample.append(piece.vectors[:_SAMPLE])
        self.count += len(piece.keys)

    def _check_finite(self, piece: ItemPiece, stored: np.ndarray[tuple[int, ...], np.dtype[np.generic]]) -> None:
        finite = np.isfinite(stored).all(axis=tuple(range(1, stored.ndim)))
        if not finite.all():
            row = int(np.argmin(finite))
            raise DataError(
                f"The vector of an item is not finite as {self._kind}.",
                where=f"item {piece.keys[row].as_py()!r}",
                expected="numbers up to 65504 in size" if self._kind == "float16" else "finite numbers",
                found=f"{np.abs(piece.vectors[row]).max():g}",
                remedy="Use item_type=float32." if self._kind == "float16" else "Check the model.",
            )


def _lists(values: np.ndarray[tuple[int, ...], np.dtype[np.generic]]) -> pa.Array:
    width = int(np.prod(values.shape[1:]))
    return pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), width)
