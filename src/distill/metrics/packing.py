"""A table as one matrix of bytes and a description of its layout: what ranks can exchange without pickling."""

from __future__ import annotations

import json
from typing import NamedTuple

import torch
from torch import Tensor

from distill.metrics.rows import ScoredRows, from_tensors, to_tensors

_DTYPES = (
    torch.bool,
    torch.uint8,
    torch.int8,
    torch.int16,
    torch.int32,
    torch.int64,
    torch.float16,
    torch.bfloat16,
    torch.float32,
    torch.float64,
)
_NAMES = {str(dtype).removeprefix("torch."): dtype for dtype in _DTYPES}


class Field(NamedTuple):
    """One tensor of a table: `[N]` when `width` is None, else `[N, width]`."""

    name: str
    dtype: str
    width: int | None


Layout = tuple[Field, ...]


def layout_of(rows: ScoredRows) -> Layout:
    """Describes the tensors of a table, whatever its number of rows."""
    return tuple(
        Field(name, str(tensor.dtype).removeprefix("torch."), tensor.shape[1] if tensor.dim() > 1 else None)
        for name, tensor in to_tensors(rows).items()
    )


def encode_layout(layout: Layout) -> Tensor:
    """Writes a layout as a vector of bytes."""
    return torch.tensor(list(json.dumps(layout).encode()), dtype=torch.uint8)


def decode_layout(data: Tensor) -> Layout:
    """Inverse of `encode_layout`."""
    return tuple(Field(*field) for field in json.loads(bytes(data.tolist()).decode()))


def pack(rows: ScoredRows) -> Tensor:
    """Lays the bytes of all tensors side by side: `[N, bytes a row]` uint8."""
    return torch.cat([_bytes(tensor) for tensor in to_tensors(rows).values()], dim=1)


def unpack(layout: Layout, data: Tensor) -> ScoredRows:
    """Inverse of `pack`, bit by bit."""
    tensors, start = {}, 0
    for field in layout:
        dtype, width = _NAMES[field.dtype], 1 if field.width is None else field.width
        stop = start + width * dtype.itemsize
        values = _own(data[:, start:stop]).view(dtype)
        tensors[field.name] = values[:, 0] if field.width is None else values
        start = stop
    return from_tensors(tensors)


def row_bytes(layout: Layout) -> int:
    """Bytes of one row."""
    return sum(_NAMES[field.dtype].itemsize * (1 if field.width is None else field.width) for field in layout)


def _bytes(tensor: Tensor) -> Tensor:
    matrix = tensor if tensor.dim() > 1 else tensor[:, None]
    return _own(matrix).view(torch.uint8)


def _own(matrix: Tensor) -> Tensor:
    """Copies to memory of its own: `contiguous` keeps the strides of a one-row matrix, which then has no byte view."""
    return matrix.clone(memory_format=torch.contiguous_format)
