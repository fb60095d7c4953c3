"""The items of a catalogue, made by tasks of an engine and taken in their order."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

from distill.engines import Advance, Engine
from distill.files import own_folder


class Piece(Protocol):
    """What is made of some items."""

    def save(self, folder: Path, /) -> None:
        """Leaves it in a new folder."""
        ...

    @classmethod
    def load(cls, folder: Path, /) -> Any:
        """Reads what `save` left, which is of this class."""
        ...


_Piece = TypeVar("_Piece", bound=Piece)
Make = Callable[[Sequence[int], Advance], Iterator[_Piece]]
"""Makes the pieces of units of raw rows, and tells of rows; can be sent to another process."""


@dataclass(frozen=True)
class ItemWorkers:
    """Where items are made.

    Attributes:
        engine: A task of it makes those of a unit of raw rows.
        scratch: Folder for what tasks make; all of them see it.
    """

    engine: Engine
    scratch: Path

    def made(self, make: Make[_Piece], kind: type[_Piece], units: int, advance: Advance) -> Iterator[_Piece]:
        """Streams the pieces of all units, in their order.

        Args:
            make: Makes them.
            kind: Their class.
            units: How many there are.
            advance: Told of raw rows.
        """
        for folder, count in self.engine.map(_write, (make, self.scratch), self.engine.portions(range(units)), advance):
            for number in range(count):
                piece: _Piece = kind.load(folder / str(number))
                yield piece
            shutil.rmtree(folder)


def _write(shared: tuple[Make[Piece], Path], numbers: Sequence[int], advance: Advance) -> tuple[Path, int]:
    """Makes the pieces of units; returns where they are, and how many."""
    (make, scratch), count = shared, 0
    folder = own_folder(scratch)
    for piece in make(numbers, advance):
        piece.save(folder / str(count))
        count += 1
    return folder, count
