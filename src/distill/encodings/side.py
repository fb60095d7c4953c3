"""The encoded fields of one side as arrays, laid out as models read them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from distill.encodings.arrow import Int64, explode
from distill.encodings.fitted import EncodedField
from distill.schema import FieldSpec, Kind

Float32 = npt.NDArray[np.float32]
SequenceValues = npt.NDArray[Any]


@dataclass(frozen=True)
class SideArrays:
    """The fields of one side, in schema order.

    Attributes:
        ids: `[B, F]`.
        numbers: `[B, M]`.
        vectors: Field name to `[B, W]`.
        sequences: Field name to the values of all rows, one row after the other, and the lengths `[B]`; ids
            `[sum(lengths)]`, or vectors `[sum(lengths), W]`.
    """

    ids: Int64
    numbers: Float32
    vectors: Mapping[str, Float32]
    sequences: Mapping[str, tuple[SequenceValues, Int64]]

    @classmethod
    def of(cls, fields: Sequence[FieldSpec], encoded: Mapping[str, EncodedField], rows: int) -> SideArrays:
        """Lays encoded columns side by side.

        Args:
            fields: Of the side.
            encoded: Field name to its column.
            rows: B.
        """
        ids = [encoded[f.name].array.to_numpy(zero_copy_only=False) for f in fields if f.is_id]
        numbers = [encoded[f.name].array.to_numpy(zero_copy_only=False) for f in fields if f.is_number]
        return cls(
            _side_by_side(ids, rows, np.dtype(np.int64)),
            _side_by_side(numbers, rows, np.dtype(np.float32)),
            {f.name: _vectors(encoded[f.name].array, f.width or 0) for f in fields if f.kind is Kind.VECTOR},
            {f.name: _sequence(encoded[f.name], f) for f in fields if f.is_sequence},
        )


def _side_by_side(
    columns: Sequence[np.ndarray[tuple[int], np.dtype[np.generic]]], rows: int, kind: np.dtype[np.generic]
) -> np.ndarray[tuple[int, int], np.dtype[Any]]:
    matrix = np.empty((rows, len(columns)), kind)
    for position, column in enumerate(columns):
        matrix[:, position] = column
    return matrix


def _vectors(array: pa.Array, width: int) -> Float32:
    flat = np.array(array.flatten().to_numpy(zero_copy_only=False))
    return flat.reshape(-1, width)


def _sequence(field: EncodedField, spec: FieldSpec) -> tuple[SequenceValues, Int64]:
    flat, lengths = explode(field.array)
    if spec.kind is Kind.VECTORS:
        return _vectors(flat, spec.width or 0), lengths
    return flat.to_numpy(zero_copy_only=False).astype(np.int64), lengths
