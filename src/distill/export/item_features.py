"""Writes the encoded features of a catalogue, for a model that reads request and item together."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from distill.batch import FeatureBlock
from distill.data.prepare.progress import PassProgress
from distill.encodings.arrow import Int64
from distill.export.catalogue import GOLDEN_ROWS, Catalogue, check_distinct
from distill.export.npy import NpyWriter
from distill.schema import FieldSpec, Kind, Side
from distill.serving.inputs import ids_of, numbers_of, sequence_of, vectors_of
from distill.serving.item_features import FeaturesManifest, feature_files
from distill.serving.item_keys import KEY
from distill.serving.items import GOLDEN, TABLE
from distill.serving.manifest import hash_files


def write_features(root: Path, catalogue: Catalogue, bars: PassProgress) -> int:
    """Writes the encoded fields of all items, as a stream; returns their number.

    Args:
        root: An empty folder.
        catalogue: The items.
        bars: For progress.

    Raises:
        DataError: An item stands twice, or see `Catalogue.encoded`.
    """
    fields = catalogue.trained.schema.side(Side.CANDIDATE)
    dense, sequences = feature_files(fields)
    keys: list[pa.Array] = []
    with ExitStack() as stack:
        writer = _Writer(root, fields, stack)
        for items in catalogue.encoded(bars):
            if not keys:
                pq.write_table(items.raw.slice(0, GOLDEN_ROWS), root / GOLDEN)
            keys.append(items.keys)
            writer.add(items.block)
    seen = pa.chunked_array(keys) if keys else pa.chunked_array([], pa.int64())
    check_distinct(seen, catalogue.source, catalogue.key)
    pq.write_table(pa.table({KEY: seen}), root / TABLE, compression="zstd")
    arrays = [*dense.values(), *(file for _, *both in sequences.values() for file in both)]
    FeaturesManifest(
        version=catalogue.trained.version,
        key=catalogue.key,
        count=len(seen),
        dense=dense,
        sequences=sequences,
        files=hash_files(root, [TABLE, *([GOLDEN] if keys else []), *arrays]),
    ).write(root)
    return len(seen)


class _Writer:
    """An array for each input of candidates."""

    def __init__(self, root: Path, fields: tuple[FieldSpec, ...], stack: ExitStack) -> None:
        self._fields = fields
        self._ends: dict[str, int] = {}
        dense, sequences = feature_files(fields)
        kind, widths = _id_kind(fields), _widths(fields)

        def opened(file: str, shape: tuple[int, ...], of: type[np.generic]) -> NpyWriter:
            return stack.enter_context(NpyWriter(root / file, shape, of))

        ids = ids_of(Side.CANDIDATE)
        self._dense = {n: opened(file, (widths[n],), kind if n == ids else np.float32) for n, file in dense.items()}
        self._sequences = {
            name: (opened(values, (), kind), opened(ends, (), np.int64))
            for name, (_, values, ends) in sequences.items()
        }

    def add(self, block: FeatureBlock) -> None:
        """Adds items."""
        self._dense[ids_of(Side.CANDIDATE)].append(block.ids.numpy())
        self._dense[numbers_of(Side.CANDIDATE)].append(block.numbers.numpy())
        for spec in self._fields:
            if spec.kind is Kind.VECTOR:
                self._dense[vectors_of(spec)].append(block.vectors[spec.name].numpy())
            elif spec.is_sequence:
                ragged = block.sequences[spec.name]
                self._add_sequence(sequence_of(spec), ragged.values.numpy(), ragged.lengths.numpy())

    def _add_sequence(self, name: str, values: Int64, lengths: Int64) -> None:
        before = self._ends.get(name, 0)
        for_values, for_ends = self._sequences[name]
        for_values.append(values)
        for_ends.append(before + np.cumsum(lengths))
        self._ends[name] = before + len(values)


def _id_kind(fields: tuple[FieldSpec, ...]) -> type[np.generic]:
    largest = max((spec.size or 0 for spec in fields if spec.encoding.makes_ids), default=0)
    return np.int32 if largest < 2**31 else np.int64


def _widths(fields: tuple[FieldSpec, ...]) -> Mapping[str, int]:
    return {
        ids_of(Side.CANDIDATE): sum(spec.is_id for spec in fields),
        numbers_of(Side.CANDIDATE): sum(spec.is_number for spec in fields),
        **{vectors_of(spec): spec.width or 0 for spec in fields if spec.kind is Kind.VECTOR},
    }
