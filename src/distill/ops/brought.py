"""Results of many batches, brought from a device to the host in few copies, or left there.

Each copy makes the host wait until the device has done all that it was asked for. Where results come batch by batch
they therefore stay on the device until there are many rows, or until somebody wants to see them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Generic, Protocol, TypeVar

import torch
from torch import Tensor
from typing_extensions import Self

from distill.ops.waiting import can_look

MOST_ROWS = 1 << 20


class Mapped(Protocol):
    """A structure of tensors; see `distill.batch.TensorStruct`."""

    def map(self, function: Callable[[Tensor], Tensor], /) -> Self:
        """Returns a copy with a function applied to every tensor."""

    def tensors(self) -> list[Tensor]:
        """Returns every tensor."""


T = TypeVar("T", bound=Mapped)


class Brought(Generic[T]):
    """Keeps the results of batches, copied and without gradient, those of a device in pieces of many rows.

    Args:
        join: Puts results of one device after one another.
        most: Rows on a device that make a piece, which is then brought to the host, or stays.
        stays: Says whether so many bytes may stay on a device; once they may not, all pieces are on the host. If not
            given, none stays.
    """

    def __init__(
        self,
        join: Callable[[Sequence[T]], T],
        most: int = MOST_ROWS,
        stays: Callable[[int, torch.device], bool] | None = None,
    ) -> None:
        self._join = join
        self._most = most
        self._stays = stays
        self.reset()

    def reset(self, parts: Sequence[T] = ()) -> None:
        """Forgets all results but some, which are where they are to be."""
        self._pieces: list[T] = list(parts)
        self._there: list[T] = []
        self._rows = 0
        self._bytes: int | None = None if self._stays is None else 0  # on the device; None if all are on the host

    def add(self, part: T, rows: int, like: Tensor) -> None:
        """Adds the results of a batch.

        Args:
            part: The results.
            rows: How many rows they have.
            like: A tensor of them, which says where they are.
        """
        copied = part.map(lambda tensor: tensor.detach().clone())
        if can_look(like):
            self._pieces.append(copied)
            return
        self._there.append(copied)
        self._rows += rows
        if self._rows >= self._most:
            self._make_piece()

    def parts(self) -> list[T]:
        """Returns the results in the order in which they came, in one piece or more: all on the host, or all where
        they were made."""
        self._make_piece()
        return self._pieces

    def _make_piece(self) -> None:
        if not self._there:
            return
        piece = self._join(self._there)
        self._there, self._rows = [], 0
        self._pieces.append(piece)
        if self._bytes is not None and self._stays is not None:
            own = piece.tensors()
            self._bytes += sum(tensor.nbytes for tensor in own)
            if self._stays(self._bytes, own[0].device):
                return
            self._bytes = None
            self._pieces = [_on_host(kept) for kept in self._pieces]
            return
        self._pieces[-1] = _on_host(piece)


def _on_host(part: T) -> T:
    return part.map(lambda tensor: tensor.cpu())
