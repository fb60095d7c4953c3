"""Fitted encoders that turn values into ids of an embedding table: 0 missing, 1 out of vocabulary, others from 2."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from distill.encodings.arrow import Int64, combine, is_text, null_mask
from distill.encodings.found_before import NUMBER, FoundBefore
from distill.encodings.groups import FittedGroups
from distill.encodings.hashing import hash_values
from distill.encodings.id_values import to_id_values
from distill.encodings.key_table import KeyTable
from distill.encodings.place import Place
from distill.encodings.values import Float64, first, to_numbers
from distill.errors import DataError
from distill.schema import MISSING_ID, NUM_RESERVED, OOV_ID

Int32 = npt.NDArray[np.int32]
ValueKind = Literal["int", "string"]
NanRule = Literal["error", "missing"]


class TableEncoder(Protocol):
    """Turns values into ids."""

    @property
    def size(self) -> int:
        """Number of ids, reserved ones included."""
        ...

    def encode(self, array: pa.Array, place: Place, nan: NanRule) -> Int32:
        """Encodes a raw column `[n]`; nulls become 0."""
        ...


def _checked_values(array: pa.Array, kind: ValueKind, place: Place, nan: NanRule) -> pa.Array:
    """Converts ids, and makes sure that they are of the kind that the encoder was fitted on."""
    values = to_id_values(array, place, nan)
    found = "string" if is_text(values.type) else "int"
    if found == kind or values.null_count == len(values):
        return values
    if (position := first(~null_mask(values))) >= 0:
        raise DataError(
            "These ids are of another type than those the encoding was fitted on.",
            where=place.at(position),
            expected=kind,
            found=found,
            remedy="Cast the column: an id must have one type in all data.",
        )
    return values


def _through_unique(values: pa.Array, codes_of_unique: npt.NDArray[np.integer]) -> Int32:
    """Spreads the codes of the distinct values of a dictionary array to its rows; nulls become 0."""
    codes = np.append(codes_of_unique, MISSING_ID).astype(np.int32)
    indices = values.indices
    if indices.null_count:
        indices = pc.fill_null(indices, len(codes) - 1)
    spread: Int32 = codes.take(indices.to_numpy(zero_copy_only=False))
    return spread


@dataclass(frozen=True)
class FittedVocabulary:
    """Ids of known values.

    Attributes:
        values: int64 or string array; the value of id 2 first.
        counts: How often each was seen in the training split.
        groups: What stands for values that are not known; their ids lie behind those of the values.
        found: Knows where lists of values stand, where they were counted in this process.
    """

    values: pa.Array
    counts: Int64
    groups: FittedGroups | None = None
    found: FoundBefore | None = field(default=None, repr=False, compare=False)

    @property
    def size(self) -> int:
        """Number of ids, reserved ones and groups included."""
        return self.first_group + (0 if self.groups is None else self.groups.count)

    @property
    def first_group(self) -> int:
        """Id of the first group."""
        return len(self.values) + NUM_RESERVED

    @property
    def kind(self) -> ValueKind:
        """Type of the values."""
        return "string" if pa.types.is_string(self.values.type) else "int"

    @cached_property
    def _table(self) -> KeyTable:
        return KeyTable(self.values)

    def encode(self, array: pa.Array, place: Place, nan: NanRule) -> Int32:
        """Encodes a raw column `[n]`; nulls become 0."""
        values = _checked_values(array, self.kind, place, nan)
        if values.null_count == len(values):
            return np.full(len(values), MISSING_ID, np.int32)
        if len(self.values) == 0:
            return np.where(null_mask(values), MISSING_ID, OOV_ID).astype(np.int32)
        distinct = values.dictionary_encode()
        found = self._places(distinct.dictionary)
        return _through_unique(distinct, np.where(found >= 0, found + NUM_RESERVED, OOV_ID))

    def _places(self, values: pa.Array) -> Int64:
        """Returns the place of each value `[n]`, -1 of one that is not known."""
        before = self.found.find(values) if self.found is not None else None
        return self._table.find(values) if before is None else before


@dataclass(frozen=True)
class FittedHash:
    """Ids 2 + hash mod buckets."""

    buckets: int
    kind: ValueKind

    @property
    def size(self) -> int:
        """Number of ids, reserved ones included."""
        return self.buckets + NUM_RESERVED

    def encode(self, array: pa.Array, place: Place, nan: NanRule) -> Int32:
        """Encodes a raw column `[n]`; nulls become 0."""
        values = _checked_values(array, self.kind, place, nan)
        if values.null_count == len(values):
            return np.full(len(values), MISSING_ID, np.int32)
        distinct = values.dictionary_encode()
        hashed = hash_values(distinct.dictionary) % np.uint64(self.buckets)
        return _through_unique(distinct, hashed.astype(np.int64) + NUM_RESERVED)


@dataclass(frozen=True)
class FittedIds:
    """Integers in `0..count-1`, used as they are behind the reserved ids."""

    count: int

    @property
    def size(self) -> int:
        """Number of ids, reserved ones included."""
        return self.count + NUM_RESERVED

    def encode(self, array: pa.Array, place: Place, nan: NanRule) -> Int32:
        """Encodes a raw column `[n]`; nulls become 0."""
        values = _checked_values(array, "int", place, nan)
        missing = null_mask(values)
        numbers = pc.fill_null(values.cast(pa.int64()), 0).to_numpy(zero_copy_only=False)
        known = (numbers >= 0) & (numbers < self.count)
        ids = np.where(known, numbers + NUM_RESERVED, OOV_ID)
        return np.where(missing, MISSING_ID, ids).astype(np.int32)


@dataclass(frozen=True)
class FittedQuantiles:
    """Quantile buckets: id 2 + number of boundaries that are not above the value.

    Attributes:
        buckets: Buckets asked for; fewer are in use if boundaries coincide.
        boundaries: Strictly increasing.
    """

    buckets: int
    boundaries: Float64

    @property
    def size(self) -> int:
        """Number of ids, reserved ones included."""
        return self.buckets + NUM_RESERVED

    def encode(self, array: pa.Array, place: Place, nan: NanRule) -> Int32:
        """Encodes a raw column of numbers `[n]`; nulls become 0."""
        numbers, missing = to_numbers(array, place, nan)
        ids = np.searchsorted(self.boundaries, numbers, side="right") + NUM_RESERVED
        return np.where(missing, MISSING_ID, ids).astype(np.int32)


def vocabulary_from_counts(
    table: pa.Table, min_count: int, max_size: int | None, found: FoundBefore | None = None
) -> FittedVocabulary:
    """Orders counted values by descending count, then value, and drops the rare ones.

    Args:
        table: Columns `value` (distinct) and `count`; with `found` also `number`.
        min_count: Rarer values are left out.
        max_size: Keep at most so many values.
        found: Knows values by their number, and is told where they stand.
    """
    kept = table.filter(pc.greater_equal(table["count"], min_count))
    kept = kept.take(pc.sort_indices(kept, sort_keys=[("count", "descending"), ("value", "ascending")]))
    kept = kept.slice(0, max_size)
    counts = combine(kept["count"]).to_numpy(zero_copy_only=False).astype(np.int64)
    if found is not None:
        numbers = combine(kept[NUMBER]).to_numpy(zero_copy_only=False)
        found.settle(numbers)
    return FittedVocabulary(combine(kept["value"]), counts, found=found)
