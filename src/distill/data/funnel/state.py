"""What the platform knows of each user from the past: liked items and category counters."""

from __future__ import annotations

import numpy as np

from distill.data.funnel.world import Floats, Ints

_PRIOR_EXPOSURES = 5.0
_PRIOR_CTR = 0.15


class UserState:
    """Counters and histories of all users, updated between blocks of requests.

    Args:
        num_users: U.
        num_categories: C.
        max_history: H, liked items that are remembered per user.
    """

    def __init__(self, num_users: int, num_categories: int, max_history: int) -> None:
        self._clicks = np.zeros((num_users, num_categories), dtype=np.int32)
        self._exposures = np.zeros((num_users, num_categories), dtype=np.int32)
        self._ring = np.zeros((num_users, max_history), dtype=np.int64)
        self._likes = np.zeros(num_users, dtype=np.int64)

    def category_count(self, user: Ints, category: Ints) -> Ints:
        """Counts the past clicks of `user [B]` on items of `category [B]`."""
        return self._clicks[user, category].astype(np.int64)

    def category_ctr(self, user: Ints, category: Ints) -> Floats:
        """Returns past clicks per exposure of `user [B]` in `category [B]`, shrunk towards the average."""
        clicks = self._clicks[user, category] + _PRIOR_EXPOSURES * _PRIOR_CTR
        return np.asarray(clicks / (self._exposures[user, category] + _PRIOR_EXPOSURES), dtype=np.float32)

    def histories(self, user: Ints) -> tuple[Ints, Ints]:
        """Returns the liked items of `user [R]`, oldest first, one user after the other, and their number `[R]`."""
        size = self._ring.shape[1]
        length = np.minimum(self._likes[user], size)
        start = np.repeat(self._likes[user] - length, length)
        place = np.arange(length.sum()) - np.repeat(np.cumsum(length) - length, length)
        return self._ring[np.repeat(user, length), (start + place) % size], length

    def update(self, user: Ints, item: Ints, category: Ints, click: Ints, like: Ints) -> None:
        """Adds exposed rows `[E]`, in time order."""
        np.add.at(self._exposures, (user, category), 1)
        clicked = click == 1
        np.add.at(self._clicks, (user[clicked], category[clicked]), 1)
        self._remember(user[like == 1], item[like == 1])

    def _remember(self, user: Ints, item: Ints) -> None:
        order = np.argsort(user, kind="stable")
        user, item = user[order], item[order]
        first = np.searchsorted(user, user)
        size = self._ring.shape[1]
        place = np.arange(user.size) - first
        added = np.bincount(user, minlength=self._likes.size)
        kept = place >= added[user] - size
        self._ring[user[kept], (self._likes[user[kept]] + place[kept]) % size] = item[kept]
        self._likes += added
