"""MovieLens requests as an Arrow table, and their schema."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from distill.data.datasets.movielens.archive import Archive
from distill.data.datasets.movielens.sessions import Sessions
from distill.schema import FieldSpec, Keys, Kind, Schema, Score, Side, StageKey, Task
from distill.schema.encoding import QuantileBuckets, Vocabulary

SPLIT = "split"
LABELS = {"like": 4.0, "love": 5.0}
_EXPOSED = 3
Ints = NDArray[np.int64]


def movielens_schema(name: str, user_columns: tuple[str, ...], max_history: int) -> Schema:
    """Returns the schema; `user_columns` are the user fields that the archive knows."""
    history = FieldSpec(
        name="history",
        side=Side.REQUEST,
        kind=Kind.SEQUENCE,
        encoding=Vocabulary(),
        table="item_id",
        max_length=max_history,
    )
    return Schema(
        name=name,
        layout="requests",
        keys=Keys(request="request_id", user="user_id", item="item_id", time="time", stage=StageKey(column="stage")),
        fields=(
            *(FieldSpec(name=column, side=Side.REQUEST, kind=Kind.ID) for column in user_columns),
            history,
            FieldSpec(name="item_id", side=Side.CANDIDATE, kind=Kind.ID),
            FieldSpec(name="year", side=Side.CANDIDATE, kind=Kind.NUMBER, encoding=QuantileBuckets(buckets=10)),
            FieldSpec(name="genres", side=Side.CANDIDATE, kind=Kind.SEQUENCE),
        ),
        tasks=tuple(Task(name=task, observed="exposed") for task in LABELS),
        score=Score(tasks={"like": 1.0}),
    )


def requests_table(
    archive: Archive, sessions: Sessions, chosen: Ints, unrated: tuple[Ints, Ints], split: str
) -> pa.Table:
    """Returns one row per request with its candidates sorted by film.

    Args:
        archive: Ratings sorted by user and time.
        sessions: All requests.
        chosen: Those to write `[R]`.
        unrated: Places in `chosen` and items of the unrated candidates, both `[D]`.
        split: Their split.
    """
    sizes = sessions.start[chosen + 1] - sessions.start[chosen]
    rating = _ranges(sessions.start[chosen], sizes)
    request = np.concatenate([np.repeat(np.arange(chosen.size), sizes), unrated[0]])
    item = np.concatenate([archive.item[rating], unrated[1]])
    stars = np.concatenate([archive.rating[rating], np.full(unrated[1].size, np.nan)])
    order = np.lexsort((item, request))
    item, stars = item[order], stars[order]
    offsets = _offsets(np.bincount(request, minlength=chosen.size))
    films, seen = archive.items.take(pa.array(item)).combine_chunks(), ~np.isnan(stars)
    candidates = {name: films[name].combine_chunks() for name in films.column_names}
    candidates["stage"] = pa.array(np.where(seen, _EXPOSED, 0), pa.int8())
    for task, bound in LABELS.items():
        candidates[task] = pa.array((stars >= bound).astype(np.int8), mask=~seen)
    length = sessions.history_end[chosen] - sessions.history_start[chosen]
    liked = archive.item[sessions.history[_ranges(sessions.history_start[chosen], length)]]
    people = archive.users.take(pa.array(sessions.user[chosen]))
    return pa.table(
        {
            "request_id": chosen,
            "time": sessions.time[chosen],
            SPLIT: pa.array([split] * chosen.size, pa.string()),
            **{name: people[name] for name in people.column_names},
            "history": pa.ListArray.from_arrays(
                _offsets(length), archive.items["item_id"].combine_chunks().take(pa.array(liked))
            ),
            **{name: pa.ListArray.from_arrays(offsets, values) for name, values in candidates.items()},
        }
    )


def _ranges(start: Ints, length: Ints) -> Ints:
    """Returns start, start + 1, … of each range, one range after the other."""
    return np.repeat(start - np.cumsum(length) + length, length) + np.arange(length.sum())


def _offsets(lengths: Ints) -> pa.Array:
    return pa.array(np.concatenate([[0], np.cumsum(lengths)]), pa.int32())
