"""Draws films that a user has not rated, by popularity."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from distill.data.datasets.movielens.sessions import Sessions

Ints = NDArray[np.int64]


def train_popularity(item: Ints, sessions: Sessions, num_items: int) -> NDArray[np.float64]:
    """Counts the ratings of each item in the training split, plus one.

    Args:
        item: Of each rating `[N]`.
        sessions: The requests that hold the ratings.
        num_items: I.

    Returns:
        `[I]`.
    """
    in_train = np.repeat(sessions.split == 0, np.diff(sessions.start))
    counts = np.bincount(item[in_train], minlength=num_items)
    return counts.astype(np.float64) + 1.0


class UnratedSampler:
    """Draws items without replacement among those that a user never rated.

    Args:
        user: Of each rating `[N]`.
        item: Of each rating `[N]`.
        popularity: Chances `[I]`, positive; they need not sum to 1.
        num_users: U.
    """

    def __init__(self, user: Ints, item: Ints, popularity: NDArray[np.float64], num_users: int) -> None:
        self._rated = np.zeros((num_users, popularity.size), dtype=bool)
        self._rated[user, item] = True
        self._logit = np.log(popularity).astype(np.float32)

    def draw(self, user: Ints, count: int, rng: np.random.Generator) -> tuple[Ints, Ints]:
        """Draws up to `count` items for each request by the Gumbel top-k trick.

        Args:
            user: `[R]`.
            count: Items per request; fewer where the user has rated almost everything.
            rng: Source of randomness.

        Returns:
            Request of each drawn item and the items, both `[D]`, sorted by request and item.
        """
        rated = self._rated[user]
        noise = rng.gumbel(size=rated.shape)
        key = np.where(rated, -np.inf, self._logit + noise)
        count = min(count, key.shape[1])
        place = np.argpartition(-key, count - 1, axis=1)[:, :count] if count else np.zeros((user.size, 0), np.int64)
        drawn = np.zeros(rated.shape, dtype=bool)
        np.put_along_axis(drawn, place, True, axis=1)
        request, item = np.nonzero(drawn & ~rated)
        return request, item
