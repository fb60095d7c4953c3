"""What one value of a column is to a model, and how it is encoded."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow.compute as pc

from distill.data.propose.keys import is_time
from distill.data.propose.values import Values
from distill.data.propose.words import AMOUNT, CODE, has, words
from distill.schema.fields import MAX_WIDTH

MANY = 100_000
"""Distinct sampled values from which on ids are hashed."""
_MOST_BUCKETS = 1 << 22
_FEW = 32
_FAR_APART = 10**7
_OWN, _OWN_ROWS = 0.98, 1000
_OWN_TEXT, _TEXT_ROWS = 0.5, 50
_SKEWED, _LARGE = 2.0, 10.0
_NONE = -1.0  # what many logs write for none
_CYCLES = {"hour": 24, "weekday": 7, "minute": 60}
_IDS = ("int", "string", "bool")


@dataclass(frozen=True)
class Choice:
    """How a column becomes a field.

    Attributes:
        kind: Of the field; None if no kind takes such values.
        settings: Further keys of the field, as in `schema.yaml`.
        why: What speaks for it, or against taking the column at all.
        left_out: Whether the column is better not taken.
    """

    kind: str | None
    settings: dict[str, Any] = field(default_factory=dict)
    why: str = ""
    left_out: bool = False


def choose(values: Values, units: Values, is_key: bool = False) -> Choice:
    """Chooses kind and encoding by type, name, range and number of distinct values.

    Args:
        values: The column.
        units: The same with one value for each request, user or item that it describes.
        is_key: Whether it is the key of users or items.
    """
    if values.is_list:
        return _of_lists(values)
    if values.family == "null" or not len(values.known):
        return Choice("id", why="no values", left_out=True)
    if not is_key and values.distinct == 1 and (len(values.known) == len(values.array) or values.family == "float"):
        return Choice("number" if values.family == "float" else "id", why="always the same value", left_out=True)
    if is_time(values) and not is_key:
        return Choice("number", why="a time other than `keys.time`: make an age or an hour of it", left_out=True)
    if values.family not in (*_IDS, "float"):
        return Choice(None, why=f"no kind of field takes {values.family}", left_out=True)
    if not is_key and values.family in ("int", "float") and not is_code(values):
        return _of_numbers(values)
    return _of_ids(values, units, is_key)


def is_code(values: Values) -> bool:
    """Whether numbers are ids rather than amounts: by the words of the name, few values, or values far apart.

    Floats are only by their name, and if they are whole: integers with nulls become such in pandas.
    """
    if not values.is_whole:
        return False
    if has(values.name, CODE):
        return True
    if values.family == "float" or has(values.name, AMOUNT):
        return False
    spread = values.high - values.low
    return values.distinct <= _FEW or (spread >= _FAR_APART and spread >= 100 * values.distinct)


def buckets_for(distinct: int) -> int:
    """Returns the buckets for so many values: the power of two of at least twice as many, bounded by 2²²."""
    return int(min(_MOST_BUCKETS, 1 << max(1, 2 * distinct - 1).bit_length()))


def _of_ids(values: Values, units: Values, is_key: bool) -> Choice:
    known = len(units.known)
    several_words = values.family == "string" and _mean_spaces(values) >= 1
    if not is_key and several_words and known >= _TEXT_ROWS and units.distinct >= _OWN_TEXT * known:
        return _of_text(values)
    if not is_key and known >= _OWN_ROWS and units.distinct >= _OWN * known:
        return Choice("id", why="nearly every one has its own value (ids of rows say nothing of others)", left_out=True)
    size = next((size for word, size in _CYCLES.items() if word in words(values.name)), None)
    if values.family != "string" and size is not None and values.low >= 0 and values.high < size:
        return Choice("id", {"encoding": {"type": "ids", "size": size}}, "small whole numbers as they are")
    if values.distinct > MANY:
        hashed = {"type": "hash", "buckets": buckets_for(values.distinct)}
        return Choice("id", {"encoding": hashed}, "very many values")
    return Choice("id", why="text of several words, and few texts" if several_words else "")


def _of_text(values: Values) -> Choice:
    words_of = pc.add(pc.count_substring(values.known, " "), 1).to_numpy(zero_copy_only=False)
    longest = max(1, int(np.ceil(np.percentile(words_of, 99))))
    many: dict[str, Any] = (
        {"encoding": {"type": "hash", "buckets": buckets_for(MANY)}} if values.distinct > MANY else {}
    )
    return Choice("text", {**many, "max_length": longest}, "text of several words; 99 % of it is not longer")


def _of_numbers(values: Values) -> Choice:
    settings: dict[str, Any] = {}
    why = ""
    if values.low >= _NONE and values.high >= _LARGE and values.skewness > _SKEWED:
        settings["encoding"], why = "log", "skewed and not below −1" if values.low < 0 else "skewed and not negative"
    if values.has_nan:
        settings["nan"] = "missing"
    if not np.isfinite(values.numbers).all():
        return Choice("number", settings, "infinite values, which no encoding takes", left_out=True)
    return Choice("number", settings, why)


def _of_lists(values: Values) -> Choice:
    inner, sizes = values.inner, values.lengths
    if inner.family == "null" or not len(inner.known):
        return Choice("sequence", why="no values", left_out=True)
    if inner.family == "float":
        width = int(sizes[0])
        if width < 2 or width > MAX_WIDTH or not (sizes == width).all():
            why = "lists of numbers are vectors, and these are of different lengths"
            return Choice(None, why=why, left_out=True)
        nan = {"nan": "missing"} if inner.has_nan or inner.array.null_count else {}
        return Choice("vector", {"width": width, **nan}, "lists of numbers, all as long")
    if inner.family not in _IDS:
        return Choice(None, why=f"no kind of field takes {values.family}", left_out=True)
    settings: dict[str, Any] = {}
    if inner.distinct > MANY:
        settings["encoding"] = {"type": "hash", "buckets": buckets_for(inner.distinct)}
    settings["max_length"] = max(1, int(np.ceil(np.percentile(sizes, 99))))
    return Choice("sequence", settings, "max_length: 99 % of the lists are not longer")


def _mean_spaces(values: Values) -> float:
    return float(pc.mean(pc.count_substring(values.known, " ")).as_py() or 0.0)
