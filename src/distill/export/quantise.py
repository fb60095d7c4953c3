"""Item vectors in fewer bits, and what that costs."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from distill.serving.items import ItemType

Float32 = npt.NDArray[np.float32]
_LARGEST = 127


def store_as(vectors: Float32, kind: ItemType) -> tuple[npt.NDArray[Any], Float32 | None]:
    """Returns vectors `[n, …, D]` as they are stored, and of int8 the scale of each `[n, …, 1]`.

    int8 is symmetric: v ≈ q·s with s = max|v| / 127, for each vector of each task.
    """
    if kind != "int8":
        return vectors.astype(kind), None
    scale = np.abs(vectors).max(axis=-1, keepdims=True) / np.float32(_LARGEST)
    divisor = np.where(scale > 0, scale, np.float32(1))
    return np.rint(vectors / divisor).astype(np.int8), scale.astype(np.float32)


def restored(stored: npt.NDArray[Any], scales: Float32 | None) -> Float32:
    """Undoes `store_as`, as far as possible."""
    found: Float32 = stored.astype(np.float32)
    return found if scales is None else found * scales


def overlap_of_best(exact: Float32, stored: Float32, best: int) -> float:
    """Returns the share of the best candidates under exact scores that are among the best under others, as a mean over
    requests.

    Args:
        exact: `[R, n]`.
        stored: `[R, n]`.
        best: How many.
    """
    taken = min(best, exact.shape[1])
    first, second = (np.argsort(-scores, axis=1, kind="stable")[:, :taken] for scores in (exact, stored))
    shares = [len(np.intersect1d(a, b)) / taken for a, b in zip(first, second, strict=True)]
    return float(np.mean(shares))
