"""Where the host may look at values for nothing, and what stands in for a look where it may not.

A GPU works behind the host. To ask it for a number or for a shape that depends on values makes the host wait for all
that it has asked for before, and the GPU then waits for the host. So where the exact size of a result is known to the
device alone, the result has the most rows that it can have, and those behind the last real one are padding.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor


class _Looks(threading.local):
    """Of each thread: those that make batches ready on the host look while another plays a device."""

    are_free = True


_looks = _Looks()


def can_look(values: Tensor) -> bool:
    """Says whether the host may ask for numbers of a tensor without waiting: on a CPU."""
    return can_look_on(values.device)


def can_look_on(device: torch.device) -> bool:
    """Says whether the host may ask for numbers on a device without waiting."""
    return _looks.are_free and device.type == "cpu"


@contextmanager
def as_on_a_device() -> Iterator[None]:
    """Treats the CPU as a device that must not be waited for by this thread, so that what runs there can be tested."""
    before, _looks.are_free = _looks.are_free, False
    try:
        yield
    finally:
        _looks.are_free = before


def size_of(exact: Tensor, most: int) -> int:
    """Returns a size that is the value of a scalar, or the most that it can be where the host may not look."""
    return int(exact) if can_look(exact) else most


@dataclass(frozen=True)
class Places:
    """The places of a mask that are true, in rising order, and maybe padding behind them.

    Attributes:
        index: `[M]` int64; of padding, the length of the mask.
        real: Which are not padding `[M]` bool; None if all are.
    """

    index: Tensor
    real: Tensor | None

    @property
    def rows(self) -> Tensor:
        """Places that exist `[M]`: the first instead of padding."""
        return self.index if self.real is None else torch.where(self.real, self.index, 0)

    def keep(self, values: Tensor, other: float = 0.0) -> Tensor:
        """Returns values `[M]` with another one on padding."""
        return values if self.real is None else torch.where(self.real, values, other)


def places(mask: Tensor, exact: bool = False, most: int | None = None) -> Places:
    """Finds where a mask `[N]` is true.

    Args:
        mask: `[N]` bool.
        exact: Whether padding is of no use to the caller, who rather waits.
        most: No more are true, if the host knows that: with padding there are so many places.
    """
    count = mask.shape[0]
    if not count:
        return Places(torch.empty(0, dtype=torch.int64, device=mask.device), None)
    if exact or can_look(mask):
        return Places(mask.nonzero().flatten(), None)
    target = torch.where(mask, mask.cumsum(0) - 1, count)  # what is false goes to one place behind the others
    position = torch.arange(count, device=mask.device)
    index = torch.full((count + 1,), count, device=mask.device).scatter_(0, target, position)[:count][:most]
    return Places(index, index < count)
