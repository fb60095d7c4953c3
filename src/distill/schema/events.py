"""Labels that another log holds: what happened after a candidate was shown."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from distill.schema.duration import check_duration, ticks
from distill.schema.keys import Model


class Events(Model):
    """How the events of a log, one in a row, become the labels of candidates.

    An event goes to the last candidate with its keys that was shown at most `within` before it, the later row of those
    at one time; the label of a candidate that an event went to is 1, else 0.

    Attributes:
        by: Keys that an event and its candidate share, to the event's columns; names alone if those are as in `keys`.
        within: Longest time from candidate to event: 30s, 15m, 2h, 7d, 1w and the like where both logs hold points in
            time, a whole number in their own unit where both hold whole numbers.
        time: Column of the event's time; that of `keys.time` if not given.
        unfinished: What is known of a candidate without an event whose time for one was not over at the last event of
            the log: nothing (`unobserved`), or that there was none (`negative`).
    """

    by: dict[Literal["request", "user", "item"], str | None] = Field(min_length=1)
    within: int | str
    time: str | None = Field(default=None, min_length=1)
    unfinished: Literal["negative", "unobserved"] = "negative"

    @field_validator("by", mode="before")
    @classmethod
    def _names_alone(cls, by: object) -> object:
        return dict.fromkeys(by) if isinstance(by, list | tuple) else by

    @field_validator("within")
    @classmethod
    def _check_within(cls, within: int | str) -> int | str:
        return check_duration(within)

    @property
    def is_duration(self) -> bool:
        """Whether `within` is a time, rather than a number in the unit of the logs."""
        return isinstance(self.within, str)

    @property
    def window(self) -> int:
        """`within` in microseconds, or in the unit of the logs."""
        return ticks(self.within)
