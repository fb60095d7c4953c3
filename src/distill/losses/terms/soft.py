"""What the terms that read the teacher's signals have in common."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from distill.losses.schedule import Schedule, temperature_schedule
from distill.losses.terms.base import LossTerm


class SoftTerm(LossTerm):
    """A term on the teacher's signals; by default it acts on all rows that the teacher scored.

    Args:
        weight: Weight of the term in the total, a number or a schedule.
        rows: Row selector or several for their union.
        tasks: Names of the tasks it acts on; all that the teacher scores if None.
    """

    needs_signals: ClassVar[bool] = True

    def __init__(
        self, weight: float | Schedule = 1.0, rows: str | Sequence[str] = "scored", tasks: Sequence[str] | None = None
    ) -> None:
        super().__init__(weight, rows, tasks)


class TemperedTerm(SoftTerm):
    """A term on the teacher's signals with a temperature.

    Args:
        weight: Weight of the term in the total, a number or a schedule.
        rows: Row selector or several for their union.
        tasks: Names of the tasks it acts on; all that the teacher scores if None.
        temperature: T > 0, a number or a schedule.
    """

    def __init__(
        self,
        weight: float | Schedule = 1.0,
        rows: str | Sequence[str] = "scored",
        tasks: Sequence[str] | None = None,
        temperature: float | Schedule = 1.0,
    ) -> None:
        super().__init__(weight, rows, tasks)
        self.temperature = self.planned(
            "temperature", temperature_schedule(temperature, where=f"{type(self).__name__}.temperature")
        )
