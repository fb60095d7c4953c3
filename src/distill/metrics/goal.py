"""What is better of a metric: more, less, a value near a target, or neither."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Goal:
    """What is better of a number.

    Attributes:
        better: `up`, `down`, `target` or `none`.
        target: The best value, where there is one in the middle, such as 1 of predicted over observed clicks.
    """

    better: Literal["up", "down", "target", "none"]
    target: float = math.nan

    @staticmethod
    def of(plain: object) -> Goal:
        """Reads what `plain` wrote.

        Raises:
            ValueError: It is something else.
        """
        if plain in ("up", "down", "none"):
            return Goal(plain)
        if isinstance(plain, (int, float)) and not isinstance(plain, bool) and math.isfinite(plain):
            return Goal("target", float(plain))
        raise ValueError(f"{plain!r} is not a goal of a metric: up, down, none or a number")

    @property
    def plain(self) -> str | float:
        """The word, or the target."""
        return self.target if self.better == "target" else self.better

    @property
    def ranks(self) -> bool:
        """Whether there is a better and a worse."""
        return self.better != "none"

    def distance(self, value: float) -> float:
        """A number to order values by, the best first; NaN without a better and worse."""
        return {"up": -value, "down": value, "target": abs(value - self.target), "none": math.nan}[self.better]


UP = Goal("up")
DOWN = Goal("down")
NEITHER = Goal("none")
