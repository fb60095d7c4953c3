"""A batch as a few contiguous buffers, which a device is sent in as few copies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from distill.batch import Batch

_KEYS = ("request_id", "user_id", "item_id", "row")
_ALIGNED = 64
"""Bytes at multiples of which fields begin: what the widest loads of a GPU want."""


@dataclass(frozen=True)
class _Place:
    """Where a tensor lies: in which buffer, from which element on, and its shape and type."""

    buffer: torch.dtype
    start: int
    shape: torch.Size
    dtype: torch.dtype


@dataclass(frozen=True)
class PackedBatch:
    """A batch whose tensors lie side by side, one buffer for each type; ids and indices in 32 bits.

    Ids are positions in tables and lists, which fit; keys (`request_id`, `item_id` and the like) keep 64 bits. Fields
    that only the host reads (`Batch.on_host`) are in no buffer.

    Attributes:
        buffers: Type to all tensors of that type, one after the other.
        batch: The batch that was packed, for what is not a tensor and what stays on the host.
        places: Of the tensors, in the order in which `Batch.map` meets them.
    """

    buffers: Mapping[torch.dtype, Tensor]
    batch: Batch
    places: tuple[_Place, ...]

    @classmethod
    def of(cls, batch: Batch, pin_memory: bool = False) -> PackedBatch:
        """Packs a batch.

        Args:
            batch: On the host.
            pin_memory: Whether the buffers are page-locked, from which a GPU copies by itself.
        """
        tensors = _travelling(batch).tensors()
        keys = {id(getattr(batch, name)) for name in _KEYS}
        places, sizes = [], dict[torch.dtype, int]()
        for tensor in tensors:
            narrow = tensor.dtype is torch.int64 and id(tensor) not in keys
            kind = torch.int32 if narrow else tensor.dtype
            start = sizes.get(kind, 0)
            places.append(_Place(kind, start, tensor.shape, tensor.dtype))
            step = _ALIGNED // kind.itemsize
            sizes[kind] = start + -(-tensor.numel() // step) * step
        buffers = {kind: torch.empty(size, dtype=kind, pin_memory=pin_memory) for kind, size in sizes.items()}
        for tensor, place in zip(tensors, places, strict=True):
            _view(buffers, place).copy_(tensor)
        return cls(buffers, batch, tuple(places))

    @property
    def num_bytes(self) -> int:
        """Size of the buffers."""
        return sum(buffer.nbytes for buffer in self.buffers.values())

    def to(self, device: torch.device, non_blocking: bool = False) -> PackedBatch:
        """Returns a copy on `device`."""
        moved = {kind: buffer.to(device, non_blocking=non_blocking) for kind, buffer in self.buffers.items()}
        return replace(self, buffers=moved)

    def widened(self) -> PackedBatch:
        """Returns the same with ids and indices in 64 bits, as models read them."""
        narrow = {place.buffer for place in self.places if place.buffer is not place.dtype}
        return replace(self, buffers={k: b.long() if k in narrow else b for k, b in self.buffers.items()})

    def unpack(self) -> Batch:
        """Returns the batch, whose fields are views of the buffers, with ids and indices as wide as they are there."""
        fields = iter([_view(self.buffers, place) for place in self.places])
        unpacked = _travelling(self.batch).map(lambda _: next(fields))
        return replace(unpacked, **{name: getattr(self.batch, name) for name in self.batch.on_host})


def _travelling(batch: Batch) -> Batch:
    absent: dict[str, Any] = dict.fromkeys(batch.on_host)
    return replace(batch, **absent)


def _view(buffers: Mapping[torch.dtype, Tensor], place: _Place) -> Tensor:
    return buffers[place.buffer][place.start : place.start + place.shape.numel()].view(place.shape)
