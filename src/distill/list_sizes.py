"""What the host knows of the lists of a batch, so that nobody need ask a device for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class ListSizes:
    """How long the lists of a batch may be; a list is the candidates of a request, or some of them.

    Attributes:
        longest: No list has more rows.
        squares: The squares of their numbers of rows add up to no more: about the pairs that there are.
        positives: No more labels, of all tasks, are those of a positive; None if only the device knows.
    """

    longest: int
    squares: int
    positives: int | None = None

    @classmethod
    def of(cls, counts: npt.NDArray[np.int64], positives: int | None) -> ListSizes:
        """Measures lists of some numbers of rows `[R]` int64."""
        return cls(int(counts.max(initial=0)), int(counts @ counts), positives)

    @classmethod
    def joined(cls, parts: Sequence[ListSizes | None]) -> ListSizes | None:
        """Returns the sizes of the lists of several batches together; None if those of one are not known."""
        if None in parts:
            return None
        sizes = [part for part in parts if part is not None]
        numbers = [part.positives for part in sizes if part.positives is not None]
        return cls(
            max((part.longest for part in sizes), default=0),
            sum(part.squares for part in sizes),
            sum(numbers) if len(numbers) == len(sizes) else None,
        )

    def with_added(self, rows: int, num_lists: int, num_rows: int) -> ListSizes:
        """Returns the sizes once each of some lists, with so many rows in all, has got up to so many rows more; none
        of the new ones is a positive."""
        squares = self.squares + 2 * rows * num_rows + rows * rows * num_lists
        return replace(self, longest=self.longest + rows, squares=squares)

    def with_positives(self, more: int | None) -> ListSizes:
        """Returns the sizes where somebody on a device made labels, of which so many are those of a positive at most;
        None if nobody knows."""
        return replace(self, positives=None if more is None or self.positives is None else self.positives + more)

    def coarse(self) -> ListSizes:
        """Returns greater sizes, of which there are few: two in each octave."""
        positives = None if self.positives is None else _half_octave(self.positives)
        return ListSizes(_half_octave(self.longest), _half_octave(self.squares), positives)


def _half_octave(size: int) -> int:
    """The next power of two, or three quarters of it if that is enough."""
    greater = 1 << max(size - 1, 0).bit_length() if size else 0
    return 3 * greater // 4 if greater >= 4 and 3 * greater // 4 >= size else greater
