"""Whom a column describes: the request, the candidate, or the pair of both."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

from distill.data.propose.values import deviations
from distill.encodings.arrow import Int64
from distill.schema import Side

_NEARLY = 0.02  # share of values that may differ from the first of their item
_FEWEST = 20  # rows of an item that is there before, to tell by


@dataclass(frozen=True)
class Groups:
    """Which sampled rows belong together.

    Attributes:
        request: Number of each row's request `[n]` (of its user, in flat data); None if rows are not grouped.
        of_user: Whether these are users.
        item: Number of each row's item `[n]`, None without an item key.
    """

    request: Int64 | None
    of_user: bool
    item: Int64 | None


def side_of(array: pa.Array, groups: Groups) -> tuple[Side, str]:
    """Says which side a column with a value per candidate is on, and why.

    The same in all rows of each request is of the request; nearly always the same for one item, of the candidate; else
    it depends on both. What cannot be told is taken for the candidate's.
    """
    who = "user" if groups.of_user else "request"
    if groups.request is not None:
        differing, compared = deviations(array, groups.request)
        if compared >= (_FEWEST if groups.of_user else 1) and not differing:
            return Side.REQUEST, f"one value in each {who}"
    if groups.item is None:
        return Side.CANDIDATE, ""
    differing, compared = deviations(array, groups.item)
    if compared < _FEWEST:
        return Side.CANDIDATE, "too few items twice to tell candidate from cross"
    if differing <= _NEARLY * compared:
        return Side.CANDIDATE, "one value for each item"
    return Side.CROSS, f"other values for one item in {100 * differing / compared:.0f} % of its rows"
