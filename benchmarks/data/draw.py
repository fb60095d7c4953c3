"""Random ids with a Zipf-like popularity, and what they do to a click. All vectorised, in constant memory per value."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int32]
Floats = NDArray[np.float32]

# Distinct values of the categorical fields of the Criteo display advertising challenge (Kaggle, 2014), C1 to C26.
CRITEO_SIZES = (
    *(1_460, 583, 10_131_227, 2_202_608, 305, 24, 12_517, 633, 3, 93_145, 5_683, 8_351_593, 3_194),
    *(27, 14_992, 5_461_306, 10, 5_652, 2_173, 4, 7_046_547, 18, 15, 286_181, 105, 142_572),
)
_KEPT = 100


def spread_ids(sizes: Sequence[int], total: int) -> tuple[int, ...]:
    """Scales numbers of ids to a total; small ones stay as they are.

    A size up to a hundredth of the total is kept, what lies above it is scaled.

    Args:
        sizes: To be scaled, at least 1 each.
        total: At least the number of sizes; the result sums to it unless all `sizes` together are smaller than that.
    """
    original = np.asarray(sizes, np.int64)
    kept = np.minimum(original, max(1, total // _KEPT))
    above = original - kept
    scaled = kept + np.floor(above * ((total - kept.sum()) / max(1, above.sum()))).astype(np.int64)
    scaled[np.argmax(original)] += total - scaled.sum()
    return tuple(scaled.tolist())


def popularity_rank(uniform: NDArray[np.float64], size: int, head: float = 1.0) -> Ints:
    """Turns uniform numbers into ranks whose probability falls as 1 / (rank + head) (Zipf–Mandelbrot, exponent 1).

    Args:
        uniform: In [0, 1), any shape.
        size: Number of ranks.
        head: Number of ranks that are about equally popular.
    """
    rank = head * np.exp(uniform * np.log1p(size / head)) - head
    clipped: Ints = np.minimum(rank, size - 1).astype(np.int32)
    return clipped


def popularity_strata(size: int, strata: int, head: float) -> NDArray[np.int64]:
    """Cuts the ranks into ranges that are drawn equally often under `popularity_rank`; none is empty.

    Returns:
        `[strata + 1]`, from 0 to `size`, strictly increasing.
    """
    edges = head * np.exp(np.linspace(0.0, 1.0, strata + 1) * np.log1p(size / head)) - head
    at_least = np.arange(strata + 1)
    cut = np.maximum.accumulate(np.floor(edges).astype(np.int64) - at_least) + at_least
    cut[-1] = size
    strictly: NDArray[np.int64] = np.minimum(cut, size - at_least[::-1])
    return strictly


def effect(ids: NDArray[np.integer], salt: int) -> Floats:
    """Returns a fixed pseudo-random number in [-0.5, 0.5) for each id; another salt gives other numbers."""
    with np.errstate(over="ignore"):
        mixed = (ids.astype(np.uint32) + np.uint32(salt * 0x85EBCA6B % 2**32)) * np.uint32(0x9E3779B1)
        mixed = (mixed ^ (mixed >> np.uint32(15))) * np.uint32(0x85EBCA77)
    numbers: Floats = (mixed >> np.uint32(8)).astype(np.float32) * np.float32(2**-24) - np.float32(0.5)
    return numbers


def raw_values(ids: Ints, salt: int) -> NDArray[np.int64]:
    """Scatters ids over 32 bits, distinct ones to distinct values, so that their order says nothing of popularity."""
    with np.errstate(over="ignore"):
        mixed = ids.astype(np.uint32) * np.uint32(0x9E3779B1) + np.uint32(salt * 0xC2B2AE3D % 2**32)
        mixed = (mixed ^ (mixed >> np.uint32(16))) * np.uint32(0x85EBCA6B)
    values: NDArray[np.int64] = mixed.astype(np.int64)
    return values


def clicks(logit: Floats, rng: np.random.Generator) -> NDArray[np.int8]:
    """Draws labels."""
    return (rng.random(logit.shape, dtype=np.float32) < 1.0 / (1.0 + np.exp(-logit))).astype(np.int8)
