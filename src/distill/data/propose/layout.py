"""How rows form requests: a list per request, several rows per request, or no requests at all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa

from distill.data.propose.labels import label_kind
from distill.data.propose.values import Values, groups_of, same_lengths
from distill.data.propose.words import REQUEST, SHOWN, has, names_key

_KEY_FAMILIES = ("int", "string", "float", "time")
_HISTORY = {"hist", "history", "past", "prev", "previous", "recent", "seq", "sequence", "fixed", "last"}
_IN_REQUESTS = 0.25  # least share of rows that share their request with another row
_UNIQUE = 0.98


@dataclass(frozen=True)
class Layout:
    """The form of the raw rows.

    Attributes:
        shape: `requests` (one row per request, with lists), `pairs` (a row per candidate of a request) or `flat`.
        why: What was seen.
        request: Column of the request key.
        lists: Of requests: the columns with a value per candidate.
    """

    shape: Literal["requests", "pairs", "flat"]
    why: str
    request: str | None = None
    lists: tuple[str, ...] = ()


def find_layout(columns: Mapping[str, pa.Array]) -> Layout:
    """Finds the form of rows.

    Args:
        columns: Raw column to its plain values.
    """
    values = {name: Values(name, array) for name, array in columns.items()}
    if lists := candidate_lists(values):
        sizes = values[lists[0]].lengths
        least, most = (int(sizes.min()), int(sizes.max())) if len(sizes) else (0, 0)
        together = f"{len(lists)} lists of the same lengths" if len(lists) > 1 else "a list"
        why = f"one row per request: {together} of {least:,} to {most:,} candidates ({', '.join(lists[:4])})"
        return Layout("requests", why, unique_key(values), lists)
    if (found := grouping_key(values)) is not None:
        groups = values[found].distinct
        rows = len(columns[found])
        return Layout("pairs", f"one row per candidate: {groups:,} values of {found} in {rows:,} rows", found)
    return Layout("flat", "one row per impression: no column says which rows are one request")


def candidate_lists(values: Mapping[str, Values]) -> tuple[str, ...]:
    """Finds the columns of lists with a value per candidate.

    Lists that are equally long in every row belong together; they are of candidates if one of them is a label or is
    named as what was shown, unless a label stands in the row itself.
    """
    if any(not one.is_list and label_kind(one) for one in values.values()):
        return ()
    groups: list[list[Values]] = []
    for one in values.values():
        if one.is_list and not has(one.name, _HISTORY):
            group = next((group for group in groups if same_lengths(group[0].array, one.array)), None)
            groups.append([one]) if group is None else group.append(one)
    labelled = [group for group in groups if any(_is_label_list(one) for one in group)]
    shown = [group for group in groups if any(has(one.name, SHOWN) and _is_ids(one.inner) for one in group)]
    return tuple(one.name for one in (labelled or shown or [[]])[0])


def grouping_key(values: Mapping[str, Values]) -> str | None:
    """Finds the key of requests that have several rows each, by name and content."""
    for name in _named_keys(values):
        sizes = np.bincount(groups_of(values[name].array))
        if sizes[sizes > 1].sum() >= _IN_REQUESTS * sizes.sum() and values[name].distinct > 1:
            return name
    return None


def unique_key(values: Mapping[str, Values]) -> str | None:
    """Finds the key of requests that have one row each, by name and content."""
    return next(
        (name for name in _named_keys(values) if values[name].distinct >= _UNIQUE * len(values[name].array)), None
    )


def request_like(values: Mapping[str, Values]) -> list[str]:
    """Lists columns that may group rows whatever they are named: each of their many values fills one run of rows."""
    found = []
    for name, one in values.items():
        if one.family not in ("int", "string") or one.array.null_count or one.distinct < 5:
            continue
        groups = groups_of(one.array)
        runs = 1 + int(np.count_nonzero(np.diff(groups)))
        if runs == one.distinct and len(groups) >= 2 * runs:
            found.append(name)
    return found


def _named_keys(values: Mapping[str, Values]) -> list[str]:
    places = {name: names_key(name, REQUEST) for name, one in values.items() if one.family in _KEY_FAMILIES}
    return sorted((name for name, place in places.items() if place is not None), key=lambda name: places[name] or 0)


def _is_label_list(one: Values) -> bool:
    return not one.inner.is_list and label_kind(one.inner) is not None


def _is_ids(one: Values) -> bool:
    return one.family in ("int", "string")
