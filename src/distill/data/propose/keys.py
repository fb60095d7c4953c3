"""Which columns are keys: user, item, time, stage, and the column of a split."""

from __future__ import annotations

from collections.abc import Mapping

import pyarrow as pa
import pyarrow.compute as pc

from distill.data.propose.values import Values
from distill.data.propose.words import ITEM, OTHER_TIME, SHOWN, STAGES, TIME, USER, has, names_key

_IDS = ("int", "string")
_SECONDS = (10**8, 5 * 10**9)  # 1973 to 2128
_UNITS = (1, 10**3, 10**6, 10**9)
_DATES = (19_000_101, 21_991_231)
_MOST_STAGES = 12
_ON_DAYS = 0.95  # of the rows


def user_key(values: Mapping[str, Values]) -> str | None:
    """Finds the column of users, among those with a value per row, by its name."""
    return _best(values, USER, ())


def item_key(values: Mapping[str, Values]) -> str | None:
    """Finds the column of items, among those with a value per candidate, by its name."""
    return _best(values, ITEM, SHOWN)


def _best(values: Mapping[str, Values], entities: tuple[str, ...], beside: set[str] | tuple[()]) -> str | None:
    fit = {name: one for name, one in values.items() if one.family in _IDS and one.distinct > 1}
    places = {name: place for name in fit if (place := names_key(name, entities, beside)) is not None}
    return min(places, key=lambda name: places[name]) if places else None


def is_time(one: Values) -> bool:
    """Whether a column holds points in time: by its type, or by its name and range (seconds to nanoseconds since 1970,
    or dates as 20250301)."""
    if one.family == "time":
        return len(one.known) > 0
    if not has(one.name, TIME) or not one.is_whole:
        return False
    epochs = any(unit * _SECONDS[0] <= one.low and one.high <= unit * _SECONDS[1] for unit in _UNITS)
    return epochs or (_DATES[0] <= one.low and one.high <= _DATES[1])


def time_key(values: Mapping[str, Values]) -> str | None:
    """Finds the time of rows: one not named as that of something else (release, registration, …), types before names,
    fine before coarse; a date, such as that of the folders, gives way to a time of these days.

    A column with the same time in all rows orders nothing and is not taken.
    """
    times = [name for name, one in values.items() if is_time(one) and one.distinct > 1]
    if not times:
        return None
    typed = {name: values[name].family == "time" for name in times}
    found = min(times, key=lambda n: (has(n, OTHER_TIME), not typed[n], not has(n, TIME), -values[n].distinct))
    finer = [n for n in times if typed[n] and values[n].distinct > values[found].distinct]
    finer = [n for n in finer if typed[found] and _on_days(values[n].array, values[found].array)]
    return max(finer, key=lambda n: values[n].distinct, default=found)


def _on_days(times: pa.Array, dates: pa.Array) -> bool:
    """Whether dates are those of the times in nearly all rows that have both."""
    try:
        days = times.cast(pa.timestamp("us"), safe=False).cast(pa.date32(), safe=False).cast(pa.timestamp("us"))
        same = pc.equal(days, dates.cast(pa.timestamp("us"), safe=False))
    except pa.ArrowException:
        return False
    return bool((pc.mean(same).as_py() or 0.0) > _ON_DAYS)


def stage_values(one: Values) -> dict[str, str] | None:
    """Reads a column as stages: value to stage of ours, for values that say it; None if it is not a column of stages.

    It is one if it has few values of text and at least two of them, or one under a name such as stage, say a stage.
    """
    if one.family != "string" or not 1 <= one.distinct <= _MOST_STAGES:
        return None
    known = {text: stage for text in one.known.unique().to_pylist() if (stage := _stage_of(text)) is not None}
    return known if len(set(known.values())) >= 2 or (known and has(one.name, {"stage", "state"})) else None


def is_split(one: Values) -> bool:
    """Whether a column says train, val or test of its rows, all three of them."""
    return one.family == "string" and set(one.known.unique().to_pylist()) == {"train", "val", "test"}


def _stage_of(text: str) -> str | None:
    return next((stage for stage, names in STAGES.items() if text.strip().lower() in names), None)
