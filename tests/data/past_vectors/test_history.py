"""The vectors before a request are the last ones of its user that were there: never one of its own time or later."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from distill.codes import MISSING_KEY
from distill.data.past_vectors import PastVectors

FEW = st.integers(-3, 3)
USERS = st.sampled_from([-(2**62), 0, 1, MISSING_KEY, 2**62])
EVENTS = st.lists(st.tuples(USERS, FEW), max_size=30)


def brute_force(events: list[tuple[int, int]], asked: list[tuple[int, int]], most: int, delay: int) -> list[list[int]]:
    """The numbers of the events before each request, oldest first."""
    found = []
    for user, time in asked:
        own = [(t, n) for n, (u, t) in enumerate(events) if u == user != MISSING_KEY and t < time - delay]
        found.append([n for _, n in sorted(own)][-most:])
    return found


def lists(past: PastVectors, asked: list[tuple[int, int]], most: int, delay: int) -> list[list[int]]:
    users, times = np.array([*asked, (0, 0)][: len(asked)], np.int64).reshape(-1, 2).T
    places, lengths = past.before(users, times, most, delay)
    ends = np.cumsum(lengths)
    numbers = past.vectors[places, 0].astype(int).tolist()
    assert len(numbers) == lengths.sum()
    return [numbers[end - length : end] for end, length in zip(ends.tolist(), lengths.tolist(), strict=True)]


def history(events: list[tuple[int, int]]) -> PastVectors:
    """Vectors that are the numbers of the events."""
    users, times = np.array(events, np.int64).reshape(-1, 2).T
    return PastVectors.of(users, times, np.arange(len(events), dtype=np.float32).reshape(-1, 1))


@given(EVENTS, EVENTS, st.integers(1, 4), st.integers(0, 3))
def test_equals_brute_force(events: list[tuple[int, int]], asked: list[tuple[int, int]], most: int, delay: int) -> None:
    assert lists(history(events), asked, most, delay) == brute_force(events, asked, most, delay)


@given(EVENTS, EVENTS, st.integers(1, 4))
def test_what_comes_at_its_time_or_later_changes_nothing(
    events: list[tuple[int, int]], asked: list[tuple[int, int]], most: int
) -> None:
    for user, time in asked:
        known = [event for event in events if event[1] < time]
        before = lists(history(events), [(user, time)], most, 0)[0]
        assert [events[n] for n in before] == [known[n] for n in lists(history(known), [(user, time)], most, 0)[0]]


def test_times_at_the_ends_of_their_range_do_not_wrap_around() -> None:
    low, high = -(2**63), 2**63 - 1
    past = history([(1, low), (1, high), (2, 0)])
    assert lists(past, [(1, high), (1, low), (2, 1), (3, high)], 5, 0) == [[0], [], [2], []]
