"""What is stored of a catalogue, as tensors on a device."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from distill.encodings.arrow import Int64
from distill.errors import DataError
from distill.schema import FieldSpec, Schema, Side
from distill.serving.inputs import CANDIDATE, LEAST_LENGTH, sequence_of, stored_of, within_of
from distill.serving.item_features import ItemFeatures
from distill.serving.items import ItemVectors
from distill.serving.manifest import TopKProgram
from distill.serving.scores import Float32

_ROWS = 1 << 18  # on their way to the device at a time
Stored = ItemVectors | ItemFeatures


@dataclass(frozen=True)
class DeviceItems:
    """Items on a device.

    Attributes:
        tensors: By the names that the program knows.
        sequences: Name of the places in a sequence to where the ids of each item end, on the host `[items]`.
    """

    tensors: dict[str, Tensor]
    sequences: dict[str, Int64]

    @classmethod
    def of(cls, items: Stored, schema: Schema, program: TopKProgram, device: torch.device) -> DeviceItems:
        """Copies what is stored to a device.

        Args:
            items: Vectors or features.
            schema: The model's view of the schema.
            program: Says in which type vectors are held.
            device: Where to.

        Raises:
            DataError: A vector is not finite in the type of the device.
        """
        if isinstance(items, ItemVectors):
            shape = (items.num_rows, *items.shape)
            held = torch.empty(shape, dtype=getattr(torch, program.type), device=device)
            for rows in _pieces(len(held)):
                held[rows.start : rows.stop] = _rounded(items.take(np.arange(rows.start, rows.stop)), held.dtype, rows)
            return cls({stored_of(CANDIDATE): held}, {})
        tensors = {stored_of(name): _copied(array, device) for name, array in items.dense.items()}
        sequences = {}
        for spec in _sequences(schema):
            name = sequence_of(spec)
            lengths, values, ends = items.sequences[name]
            tensors[stored_of(name)] = _copied(values if len(values) else np.zeros(1, np.int32), device)
            tensors[stored_of(lengths)] = _copied(ends, device)
            sequences[within_of(spec)] = np.asarray(ends)
        return cls(tensors, sequences)

    @property
    def nbytes(self) -> int:
        """Bytes on the device."""
        return sum(tensor.nbytes for tensor in self.tensors.values())

    def for_positions(self, positions: Int64) -> dict[str, npt.NDArray[np.int64]]:
        """Returns the places of padded sequences, as many as the longest of some items has.

        Args:
            positions: Of these `[R, N]`, -1 of none.
        """
        at = positions[positions >= 0]
        found = {}
        for name, ends in self.sequences.items():
            lengths = ends[at] - np.where(at > 0, ends[at - 1], 0)
            found[name] = np.arange(max(int(lengths.max(initial=0)), LEAST_LENGTH))
        return found


def _sequences(schema: Schema) -> list[FieldSpec]:
    return [spec for spec in schema.side(Side.CANDIDATE) if spec.is_sequence]


def _pieces(count: int) -> Iterator[range]:
    return (range(first, min(first + _ROWS, count)) for first in range(0, count, _ROWS))


def _rounded(vectors: Float32, kind: torch.dtype, rows: range) -> Tensor:
    held = torch.from_numpy(vectors).to(kind)
    finite = torch.isfinite(held).flatten(1).all(1).numpy()
    if not finite.all():
        row = int(np.argmin(finite))
        raise DataError(
            f"The vector of an item is not finite as {str(kind).removeprefix('torch.')}.",
            where=f"stored items, row {rows[row]}",
            expected="numbers up to 65504 in size" if kind == torch.float16 else "finite numbers",
            found=f"{np.abs(vectors[row]).max():g}",
            remedy="Export the bundle with top_k_type=float32." if kind == torch.float16 else "Check the model.",
        )
    return held


def _copied(array: npt.NDArray[Any], device: torch.device) -> Tensor:
    """Arrays are mapped into memory, read only."""
    held = torch.empty(array.shape, dtype=torch.from_numpy(np.empty(0, array.dtype)).dtype, device=device)
    for rows in _pieces(len(array)):
        held[rows.start : rows.stop] = torch.from_numpy(np.array(array[rows.start : rows.stop])).to(device)
    return held
