"""Encoded features of items by raw key: a model that reads request and item together need not encode them again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from distill.encodings.arrow import Int64
from distill.errors import DataError
from distill.schema import FieldSpec, Kind, Side
from distill.sealed import read_sealed, write_sealed
from distill.serving.columns import Values
from distill.serving.inputs import ids_of, lengths_of, numbers_of, padded, sequence_of, vectors_of
from distill.serving.item_keys import ItemKeys, check_count, read_keys, read_table
from distill.serving.items import GOLDEN, TABLE, check_version
from distill.serving.manifest import Below, check_files

FEATURES_FILE = "features.json"
_OUTSIDE = "Stored features of items cannot be read."


class FeaturesManifest(BaseModel):
    """What `features.json` holds.

    Attributes:
        version: Of the model whose encodings made them.
        key: Raw column of the item keys.
        count: Items.
        dense: Input of a program to its file: an array with a row for each item.
        sequences: Input to the files of its values, one item after the other, and of where those of each item end; the
            input of its lengths is beside it.
        files: Hash of each file.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    format: Literal["distill-item-features"] = "distill-item-features"
    format_version: Literal[1] = 1
    version: str
    key: str
    count: int = Field(ge=0)
    dense: dict[str, Below]
    sequences: dict[str, tuple[str, Below, Below]]
    files: dict[Below, str]

    @model_validator(mode="after")
    def _check_hashed(self) -> FeaturesManifest:
        arrays = [*self.dense.values(), *(file for _, *both in self.sequences.values() for file in both)]
        if missing := sorted({TABLE, *arrays} - self.files.keys()):
            raise ValueError(f"no hash of {missing[0]}")
        return self

    def write(self, root: Path) -> None:
        """Writes `features.json`."""
        write_sealed(root / FEATURES_FILE, self.model_dump(mode="json"))


def feature_files(fields: Sequence[FieldSpec]) -> tuple[dict[str, str], dict[str, tuple[str, str, str]]]:
    """Names the files of the inputs of candidates: those with a row for each item, and those of sequences.

    Args:
        fields: Of the candidate side.
    """
    dense = {ids_of(Side.CANDIDATE): "ids.npy", numbers_of(Side.CANDIDATE): "numbers.npy"}
    sequences = {}
    for place, spec in enumerate(fields):
        if spec.kind is Kind.VECTOR:
            dense[vectors_of(spec)] = f"vectors-{place}.npy"
        elif spec.is_sequence:
            sequences[sequence_of(spec)] = (lengths_of(spec), f"values-{place}.npy", f"ends-{place}.npy")
    return dense, sequences


@dataclass(frozen=True)
class ItemFeatures:
    """Features of a catalogue: `StoredItems` of a bundle whose model is a whole.

    Attributes:
        version: Of the model whose encodings made them.
        golden: Raw columns of the first items, by which a bundle proves that these are its features.
        dense: Input of a program to its rows as they are stored, one for each item.
        sequences: Input of a program to the input of its lengths, its ids, one item after the other, and where those of
            each item end.
    """

    version: str
    golden: pa.Table | None
    dense: dict[str, npt.NDArray[Any]]
    sequences: dict[str, tuple[str, npt.NDArray[Any], Int64]]
    _keys: ItemKeys

    def __len__(self) -> int:
        return len(self._keys)

    @property
    def key(self) -> str:
        """Raw column of the item keys."""
        return self._keys.column

    @classmethod
    def load(cls, root: str | Path, version: str | None = None, check: bool = True) -> ItemFeatures:
        """Opens the features of a folder; they stay on disk and are read where they are asked for.

        Args:
            root: The folder.
            version: Of the model that is to use them.
            check: Whether the files are compared with their hashes.

        Raises:
            DataError: They are of another version, or damaged.
        """
        root = Path(root)
        found = read_features_manifest(root)
        if version is not None:
            check_version(found.version, version, str(root / FEATURES_FILE))
        if check:
            check_files(root, found.files)
        keys = read_keys(root / TABLE)
        check_count(root / TABLE, keys, found.count)
        ids = ids_of(Side.CANDIDATE)
        dense = {n: _opened(root / file, found.count, "i" if n == ids else "f") for n, file in found.dense.items()}
        sequences = {
            name: (lengths, _opened(root / values, None, "i"), _opened(root / ends, found.count, "i"))
            for name, (lengths, values, ends) in found.sequences.items()
        }
        for name, (_, values, ends) in sequences.items():
            _check_ends(root / found.sequences[name][2], ends, len(values))
        golden = read_table(root / GOLDEN) if GOLDEN in found.files else None
        return cls(found.version, golden, dense, sequences, ItemKeys(found.key, keys))

    def positions(self, keys: Values) -> Int64:
        """Returns where the features of items are `[N]`; -1 of an item without any.

        Raises:
            DataError: Keys are of another type than those of the catalogue.
        """
        return self._keys.find(keys)

    def known_positions(self, keys: Values) -> Int64:
        """Returns where the features of items are `[N]`; see `positions`.

        Raises:
            DataError: An item has none.
        """
        positions = self.positions(keys)
        self._keys.check_known(positions, keys, "stored features")
        return positions

    def inputs(self, keys: Values) -> dict[str, npt.NDArray[Any]]:
        """Returns the features of items as programs take them.

        Raises:
            DataError: An item has none.
        """
        return self.take(self.known_positions(keys))

    def keys(self) -> pa.Array:
        """Returns the raw keys of all items, in the order of `positions`."""
        return self._keys.values

    def take(self, positions: Int64) -> dict[str, npt.NDArray[Any]]:
        """Returns features by position, as programs take them."""
        found = {name: _as_fed(np.take(array, positions, axis=0)) for name, array in self.dense.items()}
        for name, (lengths, values, ends) in self.sequences.items():
            last = ends[positions]
            first = np.where(positions > 0, ends[positions - 1], 0)
            own = last - first
            within = np.arange(int(own.sum())) - np.repeat(np.cumsum(own) - own, own)
            found[name], found[lengths] = padded(_as_fed(values[np.repeat(first, own) + within]), own), own
        return found


def read_features_manifest(root: Path) -> FeaturesManifest:
    """Reads `features.json`.

    Raises:
        DataError: There is none, or it is damaged.
    """
    path = root / FEATURES_FILE
    try:
        return FeaturesManifest.model_validate(read_sealed(path, ("format_version", 1)))
    except (OSError, ValueError, ValidationError) as error:
        raise DataError(
            "The folder holds no stored features of items.",
            where=str(path),
            found="no file" if isinstance(error, FileNotFoundError) else " ".join(str(error).split())[:300],
            remedy="Export them with scripts/export.py what=items, or items=FILE with the bundle.",
        ) from error


def _as_fed(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Ids are stored in 32 bits where they fit."""
    return array.astype(np.int64, copy=False) if array.dtype.kind == "i" else array


def _opened(path: Path, count: int | None, kind: str) -> npt.NDArray[Any]:
    try:
        array = np.asarray(_mapped(path))
    except (OSError, ValueError) as error:
        raise DataError(_OUTSIDE, where=str(path), found=str(error)[:300]) from error
    expected = f"{'any number of' if count is None else count} rows of {'integers' if kind == 'i' else 'float32'}"
    if (count is not None and len(array) != count) or array.dtype.kind != kind or array.dtype == np.float64:
        raise DataError(_OUTSIDE, where=str(path), expected=expected, found=f"{array.dtype} {array.shape}")
    return array


def _mapped(path: Path) -> npt.NDArray[Any]:
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)  # type: ignore[no-any-return]
    except ValueError:  # an array without values cannot be mapped
        return np.load(path, allow_pickle=False)  # type: ignore[no-any-return]


def _check_ends(path: Path, ends: Int64, values: int) -> None:
    whole = np.diff(ends, prepend=0)
    if (len(ends) and (whole < 0).any()) or (int(ends[-1]) if len(ends) else 0) != values:
        raise DataError(_OUTSIDE, where=str(path), expected=f"ascending, up to {values}")
