"""Which of several cascades no other beats in quality and cost at once."""

from __future__ import annotations

import math
from collections.abc import Sequence


def on_front(cost: Sequence[float], quality: Sequence[float]) -> list[bool]:
    """Says of each point whether it is on the Pareto front: no other costs at most as much, is at least as good, and
    better in one of the two.

    Args:
        cost: Less is better; a point whose cost or quality is NaN is on no front.
        quality: More is better.
    """
    known = [not (math.isnan(c) or math.isnan(q)) for c, q in zip(cost, quality, strict=True)]
    front = [False] * len(known)
    best, equal = -math.inf, math.nan
    for i in sorted((i for i, k in enumerate(known) if k), key=lambda i: (cost[i], -quality[i])):
        front[i] = quality[i] > best or (quality[i] == best and cost[i] == equal)
        if quality[i] > best:
            best, equal = quality[i], cost[i]
    return front
