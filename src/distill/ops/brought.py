"""Results of many batches, brought from a device to the host in few copies.

Each copy makes the host wait until the device has done all that it was asked for. Where results come batch by batch
they therefore stay on the device until there are many rows, or until somebody wants to see them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Generic, Protocol, TypeVar

from torch import Tensor
from typing_extensions import Self

from distill.ops.waiting import can_look

MOST_ROWS = 1 << 20


class Mapped(Protocol):
    """A structure of tensors; see `distill.batch.TensorStruct`."""

    def map(self, function: Callable[[Tensor], Tensor], /) -> Self:
        """Returns a copy with a function applied to every tensor."""


T = TypeVar("T", bound=Mapped)


class Brought(Generic[T]):
    """Keeps the results of batches, copied and without gradient, those of a device in pieces of many rows.

    Args:
        join: Puts results of one device after one another.
        most: Rows on a device at which they are brought to the host.
    """

    def __init__(self, join: Callable[[Sequence[T]], T], most: int = MOST_ROWS) -> None:
        self._join = join
        self._most = most
        self._here: list[T] = []
        self._there: list[T] = []
        self._rows = 0

    def add(self, part: T, rows: int, like: Tensor) -> None:
        """Adds the results of a batch.

        Args:
            part: The results.
            rows: How many rows they have.
            like: A tensor of them, which says where they are.
        """
        copied = part.map(lambda tensor: tensor.detach().clone())
        if can_look(like):
            self._here.append(copied)
            return
        self._there.append(copied)
        self._rows += rows
        if self._rows >= self._most:
            self._bring()

    def parts(self) -> list[T]:
        """Returns the results on the host, in the order in which they came, in one piece or more."""
        self._bring()
        return self._here

    def reset(self, parts: Sequence[T] = ()) -> None:
        """Forgets all results but some of the host."""
        self._here, self._there, self._rows = list(parts), [], 0

    def _bring(self) -> None:
        if self._there:
            self._here.append(self._join(self._there).map(lambda tensor: tensor.cpu()))
        self._there, self._rows = [], 0
