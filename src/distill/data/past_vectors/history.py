"""Which vectors were there before a request: the last ones of its user, of earlier times only."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from distill.codes import MISSING_KEY
from distill.encodings.arrow import Int64

Float32 = npt.NDArray[np.float32]


@dataclass(frozen=True)
class PastVectors:
    """E vectors of what users did, by user and time.

    Attributes:
        users: Key of the user `[E]`, ascending.
        times: `[E]`, ascending within a user.
        vectors: `[E, W]`.
    """

    users: Int64
    times: Int64
    vectors: Float32

    @classmethod
    def of(cls, users: Int64, times: Int64, vectors: Float32) -> PastVectors:
        """Sorts E vectors; those of one user and time stay in their order."""
        order = np.lexsort((times, users))
        return cls(users[order], times[order], vectors[order])

    def before(self, users: Int64, times: Int64, most: int, delay: int = 0) -> tuple[Int64, Int64]:
        """Finds the last vectors of users before some times.

        Args:
            users: Keys `[R]`; `MISSING_KEY` has no past.
            times: `[R]`.
            most: Vectors of each at most, the latest.
            delay: A vector is there once so much time has passed: its own is below `times - delay`. At 0, one of the
                very same time is not there.

        Returns:
            Positions of the vectors, oldest first, row after row `[sum(lengths)]`, and the lengths `[R]`.
        """
        known, moments, keys = self._index
        user, base = np.searchsorted(known, users), len(moments) + 1
        is_known = np.append(known, MISSING_KEY)[user] == users
        until = np.searchsorted(moments, times - delay if delay else times)
        first, end = (np.searchsorted(keys, user * base + place) for place in (0, until))
        lengths = np.where(is_known & (users != MISSING_KEY), np.minimum(end - first, most), 0)
        shift = np.repeat(end - lengths - (np.cumsum(lengths) - lengths), lengths)
        return shift + np.arange(len(shift)), lengths

    @cached_property
    def _index(self) -> tuple[Int64, Int64, Int64]:
        """Users and times that there are, each once, and one ascending number for each vector: of both."""
        known, user = np.unique(self.users, return_inverse=True)
        moments, moment = np.unique(self.times, return_inverse=True)
        return known, moments, user * (len(moments) + 1) + moment
