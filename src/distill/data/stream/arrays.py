"""What is done to the arrays of a block, wherever they lie: NumPy's in the host's memory, PyTorch's on a device.

On the host NumPy works on the calling thread alone, where PyTorch would wake a second team of threads that fights with
the one that trains. On a device nothing here makes the host wait.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from distill.data.stream.packing import Ints

Array = NDArray[Any]
Values = Array | Tensor


def gather(values: Values, rows: Ints | Tensor) -> Any:
    """Returns the rows at some positions, in their order."""
    if isinstance(values, Tensor):
        return values.index_select(0, torch.as_tensor(rows))
    return values.take(np.asarray(rows), axis=0)


def view(values: Values, kind: str) -> Any:
    """Returns the same bytes as numbers of another type: `int64` or `float32`."""
    return values.view(getattr(torch, kind)) if isinstance(values, Tensor) else values.view(kind)


def tensor(values: Values) -> Tensor:
    """Returns a tensor of the values, which lie side by side."""
    return values.contiguous() if isinstance(values, Tensor) else torch.from_numpy(np.ascontiguousarray(values))


def widened(values: Values) -> Tensor:
    """Returns ids as int64."""
    return values.long() if isinstance(values, Tensor) else torch.from_numpy(values.astype(np.int64))


def present(values: Values) -> Values:
    """Says which numbers are not NaN."""
    return ~(torch.isnan(values) if isinstance(values, Tensor) else np.isnan(values))


def kept(values: Values, where: Values) -> Tensor:
    """Returns numbers where a mask holds, which is broadcast, and 0 elsewhere."""
    if isinstance(values, Tensor):
        return torch.where(torch.as_tensor(where), values, 0.0)
    return torch.from_numpy(np.where(where, values, values.dtype.type(0)))


def zeroed(rows: Values, valid: Values) -> Values:
    """Returns numbers `[B, …]` that are 0 in all but some rows `[B]` bool; NumPy's are changed in place."""
    if isinstance(rows, Tensor):
        return torch.where(torch.as_tensor(valid).unsqueeze(1), rows, 0.0)
    rows[~np.asarray(valid)] = 0
    return rows
