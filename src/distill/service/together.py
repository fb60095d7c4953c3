"""Requests that are scored in one call: those of one model whose columns hold the same types."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from distill.serving import Bundle, Scores

_Kinds = frozenset[type[Any]]


@dataclass(frozen=True)
class Wanted:
    """What one request wants scored.

    Attributes:
        bundle: By which.
        source: Equal for requests whose bundles score alike and have the same items.
        request: Raw column to its value.
        candidates: Raw column to the values of all candidates.
        items: Their keys, if they come by key.
        count: Candidates.
    """

    bundle: Bundle
    source: tuple[Hashable, ...]
    request: Mapping[str, Any]
    candidates: Mapping[str, list[Any]]
    items: list[Any] | None
    count: int

    def score(self) -> Scores:
        """Scores it alone.

        Raises:
            DataError: See `Bundle.score`.
        """
        return self.bundle.score(self.request, self.candidates, self.items)

    def goes_with(self) -> tuple[Any, ...]:
        """Requests with an equal one may be scored together: as one column, values of other types would be read in
        another way."""
        request = frozenset((name, _kinds([value])) for name, value in self.request.items())
        candidates = frozenset((name, _kinds(values)) for name, values in self.candidates.items())
        return self.source, request, candidates, None if self.items is None else _kinds(self.items)


def score_together(wanted: Sequence[Wanted]) -> list[Scores | Exception]:
    """Scores requests, as many as possible in one call; each gets what it would get alone.

    Returns:
        The scores of each, or what is wrong with it.
    """
    groups: dict[tuple[Any, ...], list[int]] = {}
    for place, one in enumerate(wanted):
        groups.setdefault(one.goes_with(), []).append(place)
    found: dict[int, Scores | Exception] = {}
    for places in groups.values():
        found |= zip(places, _scored([wanted[place] for place in places]), strict=True)
    return [found[place] for place in range(len(wanted))]


def _scored(group: Sequence[Wanted]) -> list[Scores | Exception]:
    if len(group) > 1:
        try:
            return _at_once(group)
        except Exception:  # of one of them; alone, each is told its own
            pass
    return [_alone(one) for one in group]


def _alone(one: Wanted) -> Scores | Exception:
    try:
        return one.score()
    except Exception as error:
        return error


def _at_once(group: Sequence[Wanted]) -> list[Scores | Exception]:
    first = group[0]
    scores = first.bundle.score_batch(
        {name: [one.request[name] for one in group] for name in first.request},
        {name: [value for one in group for value in one.candidates[name]] for name in first.candidates},
        [one.count for one in group],
        None if first.items is None else [key for one in group for key in one.items or ()],
    )
    ends = np.cumsum([one.count for one in group])
    return [scores.take(slice(end - one.count, end)) for one, end in zip(group, ends.tolist(), strict=True)]


def _kinds(values: Sequence[Any]) -> tuple[_Kinds, _Kinds]:
    """Types of values, and of what lists hold."""
    kinds = frozenset(map(type, values)) - {type(None)}
    inside = {type(item) for value in values if type(value) is list for item in value} if list in kinds else set()
    return kinds, frozenset(inside - {type(None)})
