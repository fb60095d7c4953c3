"""Some items of a catalogue, encoded or as vectors; they can be left in files for another process."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch

from distill.batch import FeatureBlock, Ragged
from distill.encodings.arrow import combine
from distill.serving.items import Float32

_KEYS, _RAW, _ARRAYS = "keys.arrow", "raw.arrow", "arrays.npz"
_IDS, _NUMBERS, _VECTORS = "ids", "numbers", "vectors"
_OF_VECTOR, _OF_VALUES, _OF_LENGTHS = "vector/", "values/", "lengths/"

_Arrays = Mapping[str, npt.NDArray[np.generic]]


@dataclass(frozen=True)
class ItemPiece:
    """Some items.

    Attributes:
        keys: Raw keys `[n]`.
        vectors: `[n, …]`.
        raw: The raw columns that they came from, n rows.
    """

    keys: pa.Array
    vectors: Float32
    raw: pa.Table

    def filter(self, kept: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> ItemPiece:
        """Returns some of the items."""
        mask = pa.array(kept)
        return ItemPiece(self.keys.filter(mask), self.vectors[kept], self.raw.filter(mask))

    def save(self, folder: Path) -> None:
        """Leaves it in a new folder."""
        _save(folder, self.keys, self.raw, {_VECTORS: self.vectors})

    @classmethod
    def load(cls, folder: Path) -> ItemPiece:
        """Reads what `save` left."""
        keys, raw, arrays = _load(folder)
        return cls(keys, arrays[_VECTORS].astype(np.float32, copy=False), raw)


@dataclass(frozen=True)
class EncodedItems:
    """Some items as their tower, or their model, reads them.

    Attributes:
        keys: Raw keys `[n]`.
        block: Their fields, n rows.
        raw: The raw columns that they came from, n rows.
    """

    keys: pa.Array
    block: FeatureBlock
    raw: pa.Table

    def save(self, folder: Path) -> None:
        """Leaves it in a new folder."""
        block = self.block
        arrays = {_IDS: block.ids, _NUMBERS: block.numbers}
        arrays |= {_OF_VECTOR + name: values for name, values in block.vectors.items()}
        arrays |= {_OF_VALUES + name: ragged.values for name, ragged in block.sequences.items()}
        arrays |= {_OF_LENGTHS + name: ragged.lengths for name, ragged in block.sequences.items()}
        _save(folder, self.keys, self.raw, {name: values.numpy() for name, values in arrays.items()})

    @classmethod
    def load(cls, folder: Path) -> EncodedItems:
        """Reads what `save` left."""
        keys, raw, arrays = _load(folder)
        tensors = {name: torch.from_numpy(values) for name, values in arrays.items()}
        vectors = dict(_named(tensors, _OF_VECTOR))
        lengths = dict(_named(tensors, _OF_LENGTHS))
        sequences = {name: Ragged(values, lengths[name]) for name, values in _named(tensors, _OF_VALUES)}
        return cls(keys, FeatureBlock(tensors[_IDS], tensors[_NUMBERS], vectors, sequences), raw)


def _named(tensors: Mapping[str, torch.Tensor], prefix: str) -> list[tuple[str, torch.Tensor]]:
    return [(name.removeprefix(prefix), values) for name, values in tensors.items() if name.startswith(prefix)]


def _save(folder: Path, keys: pa.Array, raw: pa.Table, arrays: _Arrays) -> None:
    folder.mkdir()
    # Keys are read into memory of their own: they stay there when the rest is done with.
    for name, table in ((_KEYS, pa.table({"": keys})), (_RAW, raw)):
        with pa.ipc.new_stream(str(folder / name), table.schema) as stream:
            stream.write_table(table)
    with (folder / _ARRAYS).open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]


def _load(folder: Path) -> tuple[pa.Array, pa.Table, dict[str, npt.NDArray[np.generic]]]:
    tables = []
    for name in (_KEYS, _RAW):
        with pa.OSFile(str(folder / name)) as file, pa.ipc.open_stream(file) as stream:
            tables.append(stream.read_all())
    with np.load(folder / _ARRAYS, allow_pickle=False) as found:
        return combine(tables[0].column(0)), tables[1], {name: found[name] for name in found.files}
