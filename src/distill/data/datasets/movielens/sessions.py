"""Cuts a user's ratings into requests, splits them by time and finds what the user liked before each."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
_FEWEST_SESSIONS = 4


@dataclass(frozen=True)
class Sessions:
    """R requests over N ratings that are sorted by user and time.

    Attributes:
        start: First rating of each request `[R + 1]`, with N at the end.
        user: `[R]`.
        time: Of the first rating `[R]`.
        split: `[R]` 0 train, 1 val, 2 test.
        history: Ratings that were liked, all users one after the other `[L]`.
        history_start: First place in `history` of each request's past `[R]`.
        history_end: Place after the last one `[R]`.
    """

    start: Ints
    user: Ints
    time: Ints
    split: Ints
    history: Ints
    history_start: Ints
    history_end: Ints


def make_sessions(
    user: Ints,
    time: Ints,
    liked: NDArray[np.bool_],
    *,
    gap: float,
    max_size: int,
    max_history: int,
    val: float,
    test: float,
) -> Sessions:
    """Finds the requests.

    A pause longer than `gap`, or `max_size` ratings, ends a session. A session holds at most a quarter (rounded up) of
    the user's ratings, so that everybody who rated three films or more is in all three splits. The history of a
    request holds what the user liked at a time strictly before the request's first rating.

    Args:
        user: Of each rating, sorted `[N]`.
        time: Of each rating, sorted within the user `[N]`.
        liked: `[N]`.
        gap: Seconds.
        max_size: Most ratings of a session.
        max_history: Most liked items of a history.
        val: Share of a user's requests before the last `test` share; at least one of three or more.
        test: Share of a user's last requests; at least one of three or more.
    """
    every = np.arange(user.size)
    new_user = _changes(user)
    pause = new_user | (np.diff(time, prepend=time[:1]) > gap)
    most = np.minimum(max_size, -(-np.bincount(user) // _FEWEST_SESSIONS))
    place = every - _latest(pause)
    first = np.flatnonzero(place % most[user] == 0)
    same_time = _latest(new_user | _changes(time))
    user_start = _latest(new_user)
    before = np.concatenate([[0], np.cumsum(liked)])
    end = before[same_time[first]]
    return Sessions(
        start=np.append(first, user.size),
        user=user[first],
        time=time[first],
        split=_split(user[first], val, test),
        history=np.flatnonzero(liked),
        history_start=np.maximum(before[user_start[first]], end - max_history),
        history_end=end,
    )


def _split(user: Ints, val: float, test: float) -> Ints:
    """Splits requests that are sorted by user and time."""
    count = np.bincount(user)[user]
    from_end = np.searchsorted(user, user, side="right") - np.arange(user.size)
    least = (count >= 3).astype(np.int64)
    num_test = np.maximum(np.floor(test * count).astype(np.int64), least)
    num_val = np.maximum(np.floor(val * count).astype(np.int64), least)
    return np.where(from_end <= num_test, 2, np.where(from_end <= num_test + num_val, 1, 0))


def _changes(values: Ints) -> NDArray[np.bool_]:
    return np.concatenate([[True], values[1:] != values[:-1]])


def _latest(flags: NDArray[np.bool_]) -> Ints:
    """Returns the place of the latest flag at or before each place; the first place is flagged."""
    return np.maximum.accumulate(np.where(flags, np.arange(flags.size), 0))
