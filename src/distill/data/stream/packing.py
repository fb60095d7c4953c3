"""Cuts an ordered run of requests into batches: never within a request, never over the budget, evenly filled."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]


def count_batches(lengths: Ints, budget: int) -> int:
    """Counts the batches that `batch_bounds` makes: the fewest possible without changing the order.

    Args:
        lengths: Candidates of each request `[R]`, all positive.
        budget: Most candidates in a batch; a longer request is a batch alone.
    """
    return len(_fill_forward(_ends(lengths), budget)) - 1


def batch_bounds(lengths: Ints, budget: int) -> Ints:
    """Finds where batches begin and end.

    The number of batches B is the least possible. Cut k is the boundary between requests nearest to k/B of all
    candidates, moved only as far as the budget of this batch and of those that follow demands.

    Args:
        lengths: Candidates of each request `[R]`, all positive.
        budget: Most candidates in a batch; a longer request is a batch alone.

    Returns:
        `[B + 1]`; batch k holds the requests from bound k up to bound k + 1.
    """
    ends = _ends(lengths)
    latest = _fill_forward(ends, budget)
    earliest = _fill_backward(ends, budget, len(latest) - 1)
    count, size = len(latest) - 1, lengths.size
    bounds = [0]
    for k in range(1, count):
        low = max(earliest[k], bounds[-1] + 1)
        high = min(_furthest(ends, bounds[-1], budget), size - (count - k))
        bounds.append(min(max(_nearest(ends, k, count), low), high))
    return np.array([*bounds, size] if count else bounds, dtype=np.int64)


def _ends(lengths: Ints) -> Ints:
    """Candidates before each boundary `[R + 1]`."""
    ends = np.zeros(lengths.size + 1, dtype=np.int64)
    np.cumsum(lengths, out=ends[1:])
    return ends


def _furthest(ends: Ints, start: int, budget: int) -> int:
    """Furthest end of a batch that starts at `start`."""
    fits = int(np.searchsorted(ends, ends[start] + budget, side="right")) - 1
    return max(fits, start + 1)


def _nearest(ends: Ints, part: int, parts: int) -> int:
    """Boundary with the number of candidates before it nearest to `part / parts` of all."""
    target = (2 * part * ends[-1] + parts) // (2 * parts)
    above = int(np.searchsorted(ends, target))
    return above if ends[above] - target <= target - ends[above - 1] else above - 1


def _fill_forward(ends: Ints, budget: int) -> list[int]:
    bounds = [0]
    while bounds[-1] < ends.size - 1:
        bounds.append(_furthest(ends, bounds[-1], budget))
    return bounds


def _fill_backward(ends: Ints, budget: int, count: int) -> list[int]:
    """Earliest possible place of each bound such that the rest still fits into the batches that follow."""
    bounds = [ends.size - 1]
    for _ in range(count):
        fits = int(np.searchsorted(ends, ends[bounds[-1]] - budget, side="left"))
        bounds.append(max(0, min(fits, bounds[-1] - 1)))
    return bounds[::-1]
