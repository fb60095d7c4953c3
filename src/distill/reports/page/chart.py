"""A line chart as numbers of a drawing: what stands where in pixels. The template writes the SVG.

No plotting library: it would cost every run seconds, and its colours would not follow the reader's light or dark.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from distill.reports.numbers import number

WIDTH, HEIGHT = 460, 290  # pixels
LEFT, RIGHT, TOP, BOTTOM = 62, 14, 12, 46
_TICKS = 5
_ROOM = 0.06  # of the range, on either side
_NICE = (1, 2, 2.5, 5, 10)


@dataclass(frozen=True)
class Point:
    """A point of a chart, with half the length of its error bar and what it says when pointed at."""

    x: float
    y: float
    error: float | None = None
    says: str = ""


@dataclass(frozen=True)
class Series:
    """The points of one model.

    Attributes:
        label: Of the legend.
        colour: Class of the page's style: `teacher`, `control`, `c0` … `c7`.
        points: In the order of the line.
        line: Whether they are joined.
    """

    label: str
    colour: str
    points: tuple[Point, ...]
    line: bool = True


@dataclass(frozen=True)
class Tick:
    """A place on an axis, in pixels, and its number."""

    at: float
    text: str


@dataclass(frozen=True)
class Mark:
    """A point in pixels; its bar reaches from `low` to `high`."""

    x: float
    y: float
    low: float
    high: float
    says: str


@dataclass(frozen=True)
class Chart:
    """A chart.

    Attributes:
        title: Above it.
        x_label, y_label: Of the axes.
        series: Those with points are drawn.
        log_x: Whether x is drawn by its logarithm.
        diagonal: Whether y = x is drawn.
        categories: Names of x = 0, 1, …, in place of numbers.
        note: Below it.
    """

    title: str
    x_label: str
    y_label: str
    series: tuple[Series, ...]
    log_x: bool = False
    diagonal: bool = False
    categories: tuple[str, ...] = ()
    note: str = ""

    @property
    def legend(self) -> list[Series]:
        """Each label once."""
        return list({one.label: one for one in self.series if one.points}.values())

    @cached_property
    def _x_range(self) -> tuple[float, float]:
        if self.categories:
            return -0.5, len(self.categories) - 0.5
        if self.diagonal:
            return self._y_range
        return _widened([self._place(p.x) for s in self.series for p in s.points])

    @cached_property
    def _y_range(self) -> tuple[float, float]:
        ends = [p.y + side * (p.error or 0.0) for s in self.series for p in s.points for side in (-1, 1)]
        if self.diagonal:
            ends += [0.0, *(p.x for s in self.series for p in s.points)]
        return _widened(ends)

    def _place(self, x: float) -> float:
        return math.log10(x) if self.log_x else x

    def _x(self, x: float) -> float:
        low, high = self._x_range
        return LEFT + (self._place(x) - low) / (high - low) * (WIDTH - LEFT - RIGHT)

    def _y(self, y: float) -> float:
        low, high = self._y_range
        return HEIGHT - BOTTOM - (y - low) / (high - low) * (HEIGHT - TOP - BOTTOM)

    @property
    def x_ticks(self) -> list[Tick]:
        """Of the horizontal axis."""
        if self.categories:
            return [Tick(self._x(place), name) for place, name in enumerate(self.categories)]
        low, high = self._x_range
        values = _log_ticks(low, high) if self.log_x else nice_ticks(low, high)
        return [Tick(self._x(value), _text(value)) for value in values]

    @property
    def y_ticks(self) -> list[Tick]:
        """Of the vertical axis."""
        return [Tick(self._y(value), _text(value)) for value in nice_ticks(*self._y_range)]

    @property
    def ends(self) -> tuple[float, float, float, float]:
        """Where y = x begins and ends, in pixels: x, y, x, y."""
        low, high = self._y_range
        return self._x(low), self._y(low), self._x(high), self._y(high)

    def marks(self, series: Series) -> list[Mark]:
        """The points of a series in pixels."""
        found = []
        for point in series.points:
            error = point.error or 0.0
            low, high = self._y(point.y - error), self._y(point.y + error)
            says = point.says or f"{series.label}: {number(point.y)} at {_text(point.x)}"
            found.append(Mark(self._x(point.x), self._y(point.y), low, high, says))
        return found

    def line(self, series: Series) -> str:
        """The points of a series as an SVG polyline."""
        return " ".join(f"{mark.x:.1f},{mark.y:.1f}" for mark in self.marks(series))


def nice_ticks(low: float, high: float) -> list[float]:
    """Returns a few round numbers between two numbers."""
    raw = (high - low) / _TICKS
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(nice * power for nice in _NICE if nice * power >= raw * (1 - 1e-9))
    first = math.ceil(low / step - 1e-9)
    return [round(place * step, 12) for place in range(first, math.floor(high / step + 1e-9) + 1)]


def _log_ticks(low: float, high: float) -> list[float]:
    """Returns 1, 2 and 5 times powers of ten; the powers alone where that would be many, any round numbers where few.

    Args:
        low: Logarithm to the base of ten of the least.
        high: Of the largest.
    """
    found = list(_series(low, high, (1, 2, 5)))
    if len(found) < 3:
        return [value for value in nice_ticks(10**low, 10**high) if value > 0]
    return found if len(found) <= 2 * _TICKS else list(_series(low, high, (1,)))


def _series(low: float, high: float, digits: Sequence[int]) -> Iterator[float]:
    for power in range(math.floor(low) - 1, math.ceil(high) + 1):
        yield from (d * 10.0**power for d in digits if low <= math.log10(d * 10.0**power) <= high)


def _widened(values: Sequence[float]) -> tuple[float, float]:
    """The range of values with room at its ends; of a single value, some range around it."""
    low, high = min(values), max(values)
    room = (high - low) * _ROOM or max(abs(low) * _ROOM, 1e-6)
    return low - room, high + room


def _text(value: float) -> str:
    """Writes a number of an axis in few characters."""
    if value != 0 and not 1e-4 <= abs(value) < 1e5:
        return f"{value:.1e}"
    return f"{value:,.6g}"
