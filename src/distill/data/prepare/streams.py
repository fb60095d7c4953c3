"""Numbers whose order counts: taken as they come, or kept in files and taken later, in the order of the data.

Where parts of the data are looked at apart, what is found of a part does not say where in the whole stream its numbers
lie. So each part writes its numbers down, and one task for each stream reads those of all parts, in their order: what
comes out is what comes out of one process, to the bit.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import numpy as np

from distill.encodings.values import Float64
from distill.engines import Advance, Engine

_Result = TypeVar("_Result")
_Given = TypeVar("_Given", covariant=True)
_BLOCK = 1 << 20


class Stream(Protocol[_Given]):
    """Takes numbers in order."""

    def add(self, values: Float64, /) -> None:
        """Adds finite values."""
        ...

    def result(self) -> _Given:
        """Returns what follows from all of them."""
        ...


class Streams(Protocol):
    """Decides how numbers are taken."""

    def __call__(self, fold: Stream[_Result], /) -> Stream[_Result]:
        """Returns a stream with the result of `fold`."""
        ...


def as_they_come(fold: Stream[_Result], /) -> Stream[_Result]:
    """Takes numbers at once."""
    return fold


class Spilled(Generic[_Result]):
    """A stream whose numbers are in files until `Spills.fold`.

    Args:
        fold: What takes them then.
        path: Of the numbers of this part.
    """

    def __init__(self, fold: Stream[_Result], path: Path) -> None:
        self.fold, self.paths = fold, [path]

    def add(self, values: Float64, /) -> None:
        """Adds finite values."""
        if len(values):
            with self.paths[0].open("ab") as file:
                values.astype(np.float64).tofile(file)

    def result(self) -> _Result:
        """Returns what follows from all of them."""
        return self.fold.result()

    def blocks(self) -> Iterator[Float64]:
        """Reads the numbers of all parts."""
        for path in self.paths:
            if path.exists():
                with path.open("rb") as file:
                    while len(block := np.fromfile(file, np.float64, _BLOCK)):
                        yield block


class Spills:
    """Makes streams whose numbers go to files.

    Args:
        folder: Of the files; a task that is run twice has two.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._made: list[Spilled[Any]] = []

    def __call__(self, fold: Stream[_Result], /) -> Stream[_Result]:
        """Returns a stream with the result of `fold`."""
        self._made.append(Spilled(fold, self._folder / f"{len(self._made)}.f64"))
        return self._made[-1]

    def fold(self, engine: Engine) -> None:
        """Takes the numbers of every stream, and of those that it absorbed."""
        for spilled, fold in zip(self._made, engine.map(_folded, None, self._made, lambda _: None), strict=True):
            spilled.fold = fold


def absorb_stream(own: Stream[_Result], other: Stream[_Result]) -> None:
    """Puts the numbers of another part behind those that are there; both are of `Spills`."""
    assert isinstance(own, Spilled)
    assert isinstance(other, Spilled)
    own.paths += other.paths


def _folded(_: None, spilled: Spilled[Any], advance: Advance) -> Stream[Any]:
    for block in spilled.blocks():
        spilled.fold.add(block)
        advance(len(block))
    return spilled.fold
