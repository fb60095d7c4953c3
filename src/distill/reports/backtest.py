"""Arms of a backtest over days, and over seeds: a table, JSON and a picture."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

from distill.files import write_text_atomic
from distill.reports.evaluation import PICTURE_FILE, Evaluation
from distill.reports.numbers import number

BACKTEST_FILE = "backtest.json"
Spread = tuple[float, float]
"""A mean, and the sample deviation; NaN of one value."""


@dataclass(frozen=True)
class Backtest:
    """What one seed measured.

    Attributes:
        seed: Of everything; None if none was given.
        days: An evaluation for each day, whose models are the arms.
        seconds: Arm to the time that it took after the first training.
    """

    seed: int | None
    days: Sequence[Evaluation]
    seconds: Mapping[str, float]

    def mean(self, arm: str, metric: str) -> float:
        """Returns the mean over days."""
        return statistics.fmean(self.value(arm, metric, day) for day in range(len(self.days)))

    def value(self, arm: str, metric: str, day: int) -> float:
        """Returns the value of a day; NaN where it was not measured."""
        return self.days[day].metrics[arm].get(metric, math.nan)


def spread(values: Sequence[float]) -> Spread:
    """Returns mean and sample deviation; NaN if a value is not there."""
    if not all(map(math.isfinite, values)):
        return math.nan, math.nan
    return statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else math.nan


def save_backtests(found: Sequence[Backtest], folder: Path, metric: str) -> None:
    """Writes `backtest.json` (every metric, over seeds) and `over_days.png`, a picture of one metric."""
    days, arms = found[0].days, list(found[0].seconds)
    names = dict.fromkeys(name for day in days for arm in arms for name in day.metrics[arm])
    content = {
        "seeds": [one.seed for one in found],
        "days": [day.data for day in days],
        "seconds": {arm: _plain(spread([one.seconds[arm] for one in found])) for arm in arms},
        "metrics": {
            name: {
                arm: {
                    "mean": _plain(spread([one.mean(arm, name) for one in found])),
                    "days": [_plain(spread([one.value(arm, name, day) for one in found])) for day in range(len(days))],
                }
                for arm in arms
            }
            for name in names
        },
    }
    write_text_atomic(folder / BACKTEST_FILE, json.dumps(content, indent=2, allow_nan=False) + "\n")
    _draw(found, arms, metric, folder / PICTURE_FILE)


def print_backtests(found: Sequence[Backtest], metric: str, console: Console) -> None:
    """Prints one metric of every arm, a row for each day, their mean, and the seconds."""
    days, arms = found[0].days, list(found[0].seconds)
    table = Table(title=metric, title_justify="left", box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for name in ("data", "requests", *arms):
        table.add_column(name, justify="left" if name == "data" else "right", overflow="fold")
    for place, day in enumerate(days):
        cells = [_cell([one.value(arm, metric, place) for one in found]) for arm in arms]
        table.add_row(day.data, f"{day.requests:,}", *cells)
    table.add_row("mean", "", *(_cell([one.mean(arm, metric) for one in found]) for arm in arms))
    seconds = [spread([one.seconds[arm] for one in found]) for arm in arms]
    table.add_row("seconds", "", *(_with_deviation(f"{m:.0f}", f"{d:.0f}", d) for m, d in seconds))
    console.print(table)


def _cell(values: Sequence[float]) -> str:
    mean, deviation = spread(values)
    return _with_deviation(number(mean), number(deviation), deviation)


def _with_deviation(mean: str, deviation: str, value: float) -> str:
    return mean if math.isnan(value) else f"{mean} ± {deviation}"


def _plain(values: Spread) -> list[float | None]:
    return [value if math.isfinite(value) else None for value in values]


def _draw(found: Sequence[Backtest], arms: Sequence[str], metric: str, path: Path) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # a second of import, seldom needed
    from matplotlib.figure import Figure

    days = found[0].days
    figure = Figure(figsize=(max(6.0, 0.6 * len(days) + 3), 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for arm in arms:
        points = [spread([one.value(arm, metric, day) for one in found]) for day in range(len(days))]
        deviations = [0.0 if math.isnan(deviation) else deviation for _, deviation in points]
        axes.errorbar(range(len(days)), [mean for mean, _ in points], deviations, marker="o", capsize=3, label=arm)
    many = len(days) > 4
    axes.set_xticks(range(len(days)), [day.data for day in days], rotation=45 if many else 0)
    axes.set_ylabel(metric if len(found) == 1 else f"{metric}, mean ± deviation over {len(found)} seeds")
    axes.grid(visible=True, alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=150)
