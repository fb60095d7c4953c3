"""Which candidate each event goes to, and the labels that follow: last touch, within a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from distill.data.prepare.chunk import Chunk
from distill.data.prepare.counts import Counts
from distill.data.prepare.event_log import EventLog, count_time, joined_keys, key_columns_of, read_events
from distill.data.prepare.keys import keys_of, raw_place
from distill.data.prepare.progress import PassProgress
from distill.data.prepare.source import RawBatch, RawFiles
from distill.data.prepare.stream import explode_candidates
from distill.data.prepare.uses import KEYS, RawShape, Use
from distill.encodings.arrow import Bool, Int64
from distill.encodings.place import Place
from distill.engines import Advance, Engine
from distill.errors import DataError, SchemaError
from distill.schema import Schema, Task

_NUMBER_BITS = 24  # of the place of a candidate in its raw request
_NEVER = np.iinfo(np.int64).min


@dataclass(frozen=True)
class EventLabels:
    """The labels of a task whose events were attributed.

    Attributes:
        chosen: Positions of the candidates that an event went to, sorted.
        end: Time of the last event.
        window: Longest time from candidate to event.
        unobserved: Whether nothing is known of a candidate without an event whose window reaches beyond `end`.
        time: Raw column of the time of requests.
    """

    chosen: Int64
    end: int
    window: int
    unobserved: bool
    time: str

    def of(self, chunk: Chunk, purpose: str) -> tuple[npt.NDArray[np.float32], Bool]:
        """Returns labels of N candidates and whether nothing is known, `[N]` each.

        Args:
            chunk: The candidates.
            purpose: What the labels are for, for errors.
        """
        happened = np.isin(_positions(chunk.candidate_row, chunk.numbers if chunk.nested else 0), self.chosen)
        unknown = np.zeros(len(happened), np.bool_)
        if self.unobserved:
            if chunk.nested:
                times = count_time(chunk.request[self.time], chunk.request_place(self.time, purpose))
                times = np.repeat(times, chunk.counts)
            else:
                times = count_time(chunk.candidate[self.time], chunk.candidate_place(self.time, purpose))
            unknown = ~happened & (times > self.end - self.window)
        return happened.astype(np.float32), unknown


def attribute_events(
    paths: Mapping[str, Sequence[Path]],
    schema: Schema,
    files: RawFiles,
    shape: RawShape,
    memory_bytes: int,
    bars: PassProgress,
    counts: Counts,
    engine: Engine,
) -> dict[str, EventLabels]:
    """Attributes the events of every task that has some, in one pass over keys and times of the requests for each.

    Args:
        paths: Task to the files of its events.
        schema: Of the dataset.
        files: The requests.
        shape: Of their rows.
        memory_bytes: What the events of a task may take in memory.
        bars: For progress.
        counts: Where events are counted: read, attributed, without a key.
        engine: A task of it looks at the requests of a raw file; the events are read in this process.

    Raises:
        SchemaError: A task has `events` but no files, or the other way round.
        DataError: A log of events cannot be read, does not fit the requests, or does not fit into memory.
    """
    tasks = {task.name: task for task in schema.tasks if task.events is not None}
    if wrong := sorted(set(tasks) ^ set(paths)):
        lacks = wrong[0] in tasks
        raise SchemaError(
            f"No files are given for the events of task {wrong[0]!r}."
            if lacks
            else f"Events are given for {wrong[0]!r}, which is not a task with `events` in the schema.",
            where="data.events",
            expected=", ".join(tasks) or "none",
            found=", ".join(paths) or "none",
            remedy=f"Give their files: `data.events={{{wrong[0]}: FILES}}`."
            if lacks
            else "Correct the schema or data.events.",
        )
    found = {}
    for name, task in tasks.items():
        assert task.events is not None
        log = read_events(task, paths[name], schema, files, memory_bytes)
        chosen = _Attribution(task, schema, files, shape, log).run(bars, engine)
        for event, number in (("read", len(log.key)), ("attributed", len(chosen)), ("without_key", log.without_key)):
            counts.add(f"events_{event}/{name}", number)
        unobserved = task.events.unfinished == "unobserved"
        found[name] = EventLabels(np.unique(chosen), log.end, task.events.window, unobserved, str(schema.keys.time))
    return found


@dataclass(frozen=True)
class _Attribution:
    """What the tasks share that attribute the events of one task of the schema."""

    task: Task
    schema: Schema
    files: RawFiles
    shape: RawShape
    log: EventLog

    def run(self, bars: PassProgress, engine: Engine) -> Int64:
        """Returns the position of the candidate of each event that has one."""
        best, bar = self.nothing(), bars.begin(f"attribute {self.task.name}", self.files.num_rows)
        portions = engine.portions(range(len(self.files.files)))
        for found in engine.map(_touched, self, portions, bar.advance):
            best.take(found)
        return best.touched().position

    def nothing(self) -> LastTouch:
        """What has looked at no candidate yet."""
        assert self.task.events is not None
        return LastTouch(self.log, self.task.events.window)

    def candidates(self, numbers: Sequence[int]) -> Iterator[tuple[Int64, Int64, Int64, int]]:
        """Yields keys, times and positions of candidates with all keys, and the rows that they are from.

        Args:
            numbers: Of files that follow one another.
        """
        assert self.task.events is not None
        time = str(self.schema.keys.time)
        keys = key_columns_of(self.schema, self.task.events)
        start, stop = self.files.first_row(numbers[0]), self.files.first_row(numbers[-1] + 1)
        for batch in self.files.batches(sorted({time, *(own for _, own, _ in keys)}), (), start, stop):
            purpose = f"events of task {self.task.name!r}"
            times = count_time(batch.columns[time], raw_place(batch, time, purpose, self.files))
            rows = np.arange(batch.start, batch.start + batch.num_rows)
            row, number = np.arange(batch.num_rows), np.zeros(batch.num_rows, np.int64)
            items = batch.columns
            if self.shape == "requests":
                items, row, number = self._exploded(batch)
            found = []
            for name, own, _ in keys:
                if name == "item":
                    found.append(keys_of(items[own], self._place(own, batch, row)))
                else:
                    of_row, null = keys_of(batch.columns[own], raw_place(batch, own, f"keys.{name}", self.files))
                    found.append((of_row[row], null[row]))
            key, missing = joined_keys(found)
            yield key[~missing], times[row][~missing], _positions(rows[row], number)[~missing], batch.num_rows

    def _place(self, item: str, batch: RawBatch, row: Int64) -> Place:
        return Place(item, "keys.item", lambda position: self.files.locate(batch.start + int(row[position])))

    def _exploded(self, batch: RawBatch) -> tuple[dict[str, pa.Array], Int64, Int64]:
        item = str(self.schema.keys.item)
        values, lengths = explode_candidates(batch, [Use(item, "keys.item", True, KEYS)], self.files.locate)
        if len(lengths) and lengths.max() >= 1 << _NUMBER_BITS:
            raise DataError("A request has too many candidates.", where=f"column {item!r}", found=f"{lengths.max():,}")
        number = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        return values, np.repeat(np.arange(len(lengths)), lengths), number


def _touched(work: _Attribution, numbers: Sequence[int], advance: Advance) -> Touched:
    """Finds the last candidates of events in files that follow one another."""
    best = work.nothing()
    for key, time, position, rows in work.candidates(numbers):
        best.add(key, time, position)
        advance(rows)
    return best.touched()


@dataclass(frozen=True)
class Touched:
    """E' events that have a candidate.

    Attributes:
        event: `[E']`, their numbers.
        time: `[E']`, of the last candidate of each.
        position: `[E']`, of that candidate.
    """

    event: Int64
    time: Int64
    position: Int64


class LastTouch:
    """Finds for each event the last candidate before it, of candidates that come in any order.

    Args:
        log: E events.
        window: Longest time from candidate to event.
    """

    def __init__(self, log: EventLog, window: int) -> None:
        self._log, self._window = log, window
        self._time = np.full(len(log.key), _NEVER)
        self._position = np.full(len(log.key), -1)

    def add(self, key: Int64, time: Int64, position: Int64) -> None:
        """Looks at some candidates `[n]`: their keys, times and positions."""
        event = self._events_of(key)
        if not len(event):
            return
        n = len(key)
        keys = np.append(key, self._log.key[event])
        times = np.append(time, self._log.time[event])
        # At one time candidates come before events, and candidates in the order of their positions.
        after = np.append(position, np.full(len(event), np.iinfo(np.int64).max))
        order = np.lexsort((after, times, keys))
        is_event = order >= n
        last = np.maximum.accumulate(np.where(is_event, -1, np.arange(len(order))))[is_event]
        own = event[order[is_event] - n]
        seen = last >= 0
        candidate, own = order[last[seen]], own[seen]
        near = (key[candidate] == self._log.key[own]) & (time[candidate] >= self._log.time[own] - self._window)
        candidate, own = candidate[near], own[near]
        self.take(Touched(own, time[candidate], position[candidate]))

    def take(self, found: Touched) -> None:
        """Looks at what was found elsewhere: of each event one candidate at most."""
        time, position = self._time[found.event], self._position[found.event]
        later = (found.time > time) | ((found.time == time) & (found.position > position))
        event = found.event[later]
        self._time[event], self._position[event] = found.time[later], found.position[later]

    def touched(self) -> Touched:
        """Returns what was found."""
        event = np.flatnonzero(self._time != _NEVER)
        return Touched(event, self._time[event], self._position[event])

    def _events_of(self, key: Int64) -> Int64:
        """Returns the events that have one of some keys."""
        distinct = np.unique(key)
        starts = np.searchsorted(self._log.key, distinct, side="left")
        counts = np.searchsorted(self._log.key, distinct, side="right") - starts
        events: Int64 = np.arange(counts.sum()) + np.repeat(starts - (np.cumsum(counts) - counts), counts)
        return events


def _positions(row: Int64, number: Int64 | int) -> Int64:
    """Numbers candidates in the order of the raw data."""
    return (row << _NUMBER_BITS) + number
