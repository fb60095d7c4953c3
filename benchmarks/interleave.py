"""Measures several things in turns, so that a noisy machine slows all of them alike."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True)
class Series:
    """What was measured of one thing, turn by turn."""

    values: tuple[float, ...]

    @property
    def typical(self) -> float:
        """The median."""
        return median(self.values)

    def over(self, other: Series) -> float:
        """The median of the ratios to another thing measured in the same turns."""
        return median(a / b for a, b in zip(self.values, other.values, strict=True))


def interleave(measures: Mapping[str, Callable[[], float]], turns: int) -> dict[str, Series]:
    """Calls every measure once a turn, in an order that reverses from turn to turn.

    Args:
        measures: Name to what measures it once.
        turns: How often.

    Returns:
        Name to its values.
    """
    found: dict[str, list[float]] = {name: [] for name in measures}
    for turn in range(turns):
        names = list(measures)
        for name in names if turn % 2 == 0 else reversed(names):
            found[name].append(measures[name]())
    return {name: Series(tuple(values)) for name, values in found.items()}
