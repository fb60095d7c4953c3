"""Statistics of a stream of arrays whose results do not depend on how the stream was cut into arrays."""

from __future__ import annotations

import numpy as np

from distill.encodings.hashing import UInt64, mix64
from distill.encodings.values import Float64

_BLOCK = 1 << 16
SAMPLE_SIZE = 1_000_000


class Moments:
    """Mean and deviation, merged block by block (Chan, Golub, LeVeque 1979); blocks have a fixed number of values."""

    def __init__(self) -> None:
        self._rest: list[Float64] = []
        self._rest_size = 0
        self._count, self._mean, self._squares = 0, 0.0, 0.0

    def add(self, values: Float64) -> None:
        """Adds finite values."""
        self._rest.append(values)
        self._rest_size += len(values)
        if self._rest_size >= _BLOCK:
            stream = np.concatenate(self._rest)
            whole = len(stream) - len(stream) % _BLOCK
            for start in range(0, whole, _BLOCK):
                self._merge(stream[start : start + _BLOCK])
            self._rest, self._rest_size = [stream[whole:].copy()], len(stream) - whole

    def result(self) -> tuple[float, float]:
        """Returns mean and deviation (of the population); 0 and 0 without values."""
        if self._rest_size:
            self._merge(np.concatenate(self._rest))
            self._rest, self._rest_size = [], 0
        if self._count == 0:
            return 0.0, 0.0
        return self._mean, float(np.sqrt(self._squares / self._count))

    def _merge(self, block: Float64) -> None:
        mean = float(block.mean())
        squares = float(np.square(block - mean).sum())
        total = self._count + len(block)
        delta = mean - self._mean
        self._squares += squares + delta * delta * self._count * len(block) / total
        self._mean += delta * len(block) / total
        self._count = total


class Extremes:
    """Smallest and largest value."""

    def __init__(self) -> None:
        self.low, self.high = np.inf, -np.inf

    def add(self, values: Float64) -> None:
        """Adds finite values."""
        if len(values):
            self.low, self.high = min(self.low, float(values.min())), max(self.high, float(values.max()))

    def absorb(self, other: Extremes) -> None:
        """Adds what another one has seen."""
        self.low, self.high = min(self.low, other.low), max(self.high, other.high)


class Lowest:
    """The smallest value, how often it is there, and the next one; negate the values for the largest."""

    def __init__(self) -> None:
        self.value, self.count, self.next = np.inf, 0, np.inf

    def add(self, values: Float64) -> None:
        """Adds finite values."""
        if len(values) == 0 or (low := float(values.min())) >= self.next:
            return
        if low > self.value:
            self.next = low
            return
        is_low = values == low
        count = int(is_low.sum())
        above = values[~is_low]
        beyond = min(float(above.min()) if len(above) else np.inf, self.next)
        if low < self.value:
            self.value, self.count, self.next = low, count, min(beyond, self.value)
        else:
            self.count, self.next = self.count + count, beyond

    def absorb(self, other: Lowest) -> None:
        """Adds what another one has seen."""
        low = min(self.value, other.value)
        above = [v for v in (self.value, self.next, other.value, other.next) if v > low]
        self.count = sum(one.count for one in (self, other) if one.value == low)
        self.value, self.next = low, min(above, default=np.inf)


class Reservoir:
    """A uniform sample without replacement: the values whose position has the smallest seeded hash.

    Args:
        seed: Streams with different seeds are sampled independently.
        size: Streams of at most so many values are kept whole.
    """

    def __init__(self, seed: int, size: int = SAMPLE_SIZE) -> None:
        self._seed, self._size = seed, size
        self._seen = 0
        self._values: list[Float64] = []
        self._priorities: list[UInt64] = []
        self._held = 0
        self._limit = np.uint64(2**64 - 1)

    def add(self, values: Float64) -> None:
        """Adds finite values."""
        positions = np.arange(self._seen, self._seen + len(values), dtype=np.int64)
        self._seen += len(values)
        priorities = mix64(positions, self._seed)
        if self._limit < np.uint64(2**64 - 1):
            keep = priorities <= self._limit
            values, priorities = values[keep], priorities[keep]
        self._values.append(values)
        self._priorities.append(priorities)
        self._held += len(values)
        if self._held > 2 * self._size:
            self._shrink()

    def result(self) -> Float64:
        """Returns the sample, in no particular order."""
        self._shrink()
        return self._values[0] if self._values else np.zeros(0)

    def _shrink(self) -> None:
        if not self._values:
            return
        values, priorities = np.concatenate(self._values), np.concatenate(self._priorities)
        if len(values) > self._size:
            order = np.argpartition(priorities, self._size - 1)[: self._size]
            values, priorities = values[order], priorities[order]
            self._limit = priorities.max()
        self._values, self._priorities, self._held = [values], [priorities], len(values)


def quantile_boundaries(samples: list[Float64], buckets: int) -> Float64:
    """Cuts pooled samples into `buckets` equally full buckets.

    Returns:
        Strictly increasing boundaries, at most `buckets - 1`.
    """
    values = np.concatenate(samples)
    if len(values) == 0:
        return np.zeros(0)
    shares = np.arange(1, buckets) / buckets
    return np.unique(np.quantile(values, shares, method="linear"))
