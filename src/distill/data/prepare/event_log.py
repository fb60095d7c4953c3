"""A log of events in memory: the keys and the time of each, sorted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from distill.data.prepare.key_types import KeyColumn, check_one_type
from distill.data.prepare.keys import keys_of, raw_place
from distill.data.prepare.plan import check_columns, open_files
from distill.data.prepare.source import RawFiles
from distill.data.prepare.uses import KEYS, TIMES, Use
from distill.encodings.arrow import Bool, Int64, family, plain_type
from distill.encodings.hashing import mix64
from distill.encodings.place import Place
from distill.encodings.times import to_times
from distill.errors import DataError
from distill.schema import Events, Schema, Task

EVENT_BYTES = 128
"""Memory for an event at most: key, time and what it is attributed to, in two copies while they are sorted."""


@dataclass(frozen=True)
class EventLog:
    """E events of a task, by key and time.

    Attributes:
        key: `[E]`, of all keys together.
        time: `[E]`.
        without_key: Events that were left out, because one of their keys is null.
    """

    key: Int64
    time: Int64
    without_key: int

    @property
    def end(self) -> int:
        """Time of the last event; the smallest number without any."""
        return int(self.time.max(initial=np.iinfo(np.int64).min))


def key_columns_of(schema: Schema, events: Events) -> list[tuple[str, str, str]]:
    """Lists each key that events share with candidates: its name, its column in the log of requests, and in that of the
    events."""
    of = {"request": schema.keys.request, "user": schema.keys.user, "item": schema.keys.item}
    return [(name, str(of[name]), events.by.get(name) or str(of[name])) for name in of if name in events.by]


def joined_keys(keys: Sequence[tuple[Int64, Bool]]) -> tuple[Int64, Bool]:
    """Makes one key of several, and says where one of them is null, `[n]` each."""
    missing = np.logical_or.reduce([null for _, null in keys])
    if len(keys) == 1:
        return keys[0][0], missing
    hashed = np.zeros(len(missing), np.uint64)
    for key, _ in keys:
        hashed = mix64((hashed ^ mix64(key)).view(np.int64), 1)
    return hashed.view(np.int64), missing


def count_time(array: pa.Array, place: Place) -> Int64:
    """Converts times to microseconds, or whole numbers as they are `[n]`.

    Raises:
        DataError: One is null, or is a number with a fraction.
    """
    if family(array.type) == "float":
        try:
            array = array.cast(pa.int64())
        except pa.ArrowInvalid as error:
            raise DataError(
                "Times of events are whole numbers or points in time.",
                where=place.at(0),
                expected="int, timestamp, date or ISO 8601 text",
                found=str(error).splitlines()[0],
                remedy="Write them in a finer unit, or as timestamps.",
            ) from error
    return to_times(array, place)


def read_events(task: Task, paths: Sequence[Path], schema: Schema, logs: RawFiles, memory_bytes: int) -> EventLog:
    """Reads the events of a task.

    Args:
        task: With `events`.
        paths: The files of its events.
        schema: Names the columns.
        logs: The requests, whose keys and times must be of the same types.
        memory_bytes: What the events may take in memory.

    Raises:
        DataError: A file cannot be read, a column is missing or of another type, a time is null, or there are too many.
    """
    events = task.events
    assert events is not None
    keys = key_columns_of(schema, events)
    uses = [Use(column, f"events of task {task.name!r}, {name}", True, KEYS) for name, _, column in keys]
    time = Use(events.time or str(schema.keys.time), f"events of task {task.name!r}, time", True, TIMES)
    files = open_files(paths, schema, [*uses, time], raw=schema.value_reading)
    check_columns(files, [*uses, time], "flat")
    if (needed := files.num_rows * EVENT_BYTES) > memory_bytes:
        raise DataError(
            f"The events of task {task.name!r} do not fit into memory.",
            where=f"{paths[0]}" + (f" and {len(paths) - 1} more" if len(paths) > 1 else ""),
            expected=f"at most {memory_bytes // EVENT_BYTES:,} events in memory_bytes={memory_bytes}",
            found=f"{files.num_rows:,} events, {needed:,} bytes",
            remedy=f"Set memory_bytes={needed}, or prepare fewer days at a time.",
        )
    for use, (name, own, _) in zip(uses, keys, strict=True):
        check_one_type(
            "A key of events is of another type than that of the requests: no event would be found.",
            KeyColumn(files, use.column, use.purpose),
            KeyColumn(logs, own, f"keys.{name}"),
        )
    _check_clocks(task, events, ((time.column, files), (str(schema.keys.time), logs)))
    return _sorted(files, uses, time)


def _sorted(files: RawFiles, uses: Sequence[Use], time: Use) -> EventLog:
    keys, times, left_out = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)], 0
    for batch in files.batches(sorted({time.column, *(use.column for use in uses)})):
        places = [raw_place(batch, use.column, use.purpose, files) for use in (*uses, time)]
        pairs = [keys_of(batch.columns[use.column], place) for use, place in zip(uses, places, strict=False)]
        key, missing = joined_keys(pairs)
        keys.append(key[~missing])
        times.append(count_time(batch.columns[time.column], places[-1])[~missing])
        left_out += int(missing.sum())
    key, when = np.concatenate(keys), np.concatenate(times)
    order = np.lexsort((when, key))
    return EventLog(key[order], when[order], left_out)


def _check_clocks(task: Task, events: Events, columns: Sequence[tuple[str, RawFiles]]) -> None:
    """Refuses times that `within` does not measure."""
    wanted = ("time", "string") if events.is_duration else ("int", "float")
    for column, files in columns:
        for file in files.files:
            found = family(plain_type(file.schema.field(column).type))
            if found not in (*wanted, "null"):
                raise DataError(
                    f"The time within which events of task {task.name!r} count does not suit the times.",
                    where=f"{file.path}, column {column!r}",
                    expected="timestamps, dates or ISO 8601 text" if events.is_duration else "whole numbers",
                    found=f"{found}; events.within: {events.within}",
                    remedy="Give `within` as a time such as 30m for points in time, as a whole number for numbers, and "
                    "both logs the same kind of times.",
                )
