"""When each request of a log was, and whose."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from distill.data.prepare.keys import key_columns, raw_place, row_keys
from distill.data.prepare.source import RawBatch, RawFiles
from distill.encodings.arrow import Int64, family, null_mask, plain_type
from distill.encodings.times import to_times
from distill.encodings.values import first
from distill.errors import ConfigError, DataError, SchemaError
from distill.schema import Schema
from distill.schema.duration import ticks

_USE = "keys.time"


@dataclass(frozen=True)
class RequestTimes:
    """Q requests, by key.

    Attributes:
        keys: `[Q]`, ascending.
        users: Key of the user `[Q]`.
        times: `[Q]`; of a request of several rows that of its first.
    """

    keys: Int64
    users: Int64
    times: Int64

    @classmethod
    def read(cls, files: RawFiles, schema: Schema) -> RequestTimes:
        """Reads keys and times of all rows.

        Raises:
            SchemaError: The schema names no user or no time.
            DataError: A time is missing or cannot be read, or a key.
        """
        for key in ("user", "time"):
            if getattr(schema.keys, key) is None:
                raise SchemaError(
                    "What a user did before a request is found by user and time.",
                    where=f"keys.{key}",
                    found="nothing",
                    remedy="Declare both columns in the schema.",
                )
        time = str(schema.keys.time)
        found = [np.zeros((3, 0), np.int64)]
        for batch in files.batches(sorted({time, *key_columns(schema)})):
            keys = row_keys(batch, schema, files)
            found.append(np.stack([keys.request, keys.user, _times(batch, time, files)]))
        request, user, when = np.concatenate(found, axis=1)
        order = np.lexsort((when, request))
        is_first = np.append(True, np.diff(request[order]) != 0)[: len(order)]
        chosen = order[is_first]
        return cls(request[chosen], user[chosen], when[chosen])

    def find(self, keys: Int64) -> Int64:
        """Returns the positions of requests, which are all there."""
        return np.searchsorted(self.keys, keys)


def _times(batch: RawBatch, time: str, files: RawFiles) -> Int64:
    array, place = batch.columns[time], raw_place(batch, time, _USE, files)
    if (row := first(null_mask(array))) >= 0:
        raise DataError(
            "A time is missing, so nobody knows what was before.",
            where=place.at(row),
            found="null",
            remedy="Fill the time, or leave such rows out.",
        )
    return to_times(array, place)


def delay_in_ticks(delay: int | str, files: RawFiles, time: str) -> int:
    """Returns a delay in the unit that times are counted in.

    Raises:
        ConfigError: The times are not of the kind that it is for.
    """
    if not delay:
        return 0
    wanted = ("time", "string") if isinstance(delay, str) else ("int",)
    for file in files.files:
        found = family(plain_type(file.schema.field(time).type))
        if found not in wanted:
            raise ConfigError(
                "The delay does not suit the times of the log.",
                where="delay",
                expected="a time such as 30m where the log holds timestamps, dates or ISO 8601 text; a whole number in "
                "the unit of the log where it holds whole numbers",
                found=f"{delay}; {file.path}, column {time!r} holds {found}",
            )
    return ticks(delay)
