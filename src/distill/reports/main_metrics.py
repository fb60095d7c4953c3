"""Which metrics a comparison shows when nobody says: those that exist, for tasks of any name and kind."""

from __future__ import annotations

import math
from collections.abc import Sequence

from distill.metrics.base import SKIPPED
from distill.metrics.long_tail import BANDS
from distill.reports.compare import Row
from distill.reports.comparison_marks import goal_of

_MOST = 6  # columns that fit a terminal beside the costs
_OF_TASK = 2
_FIRST = ("auc", "gauc")
_LEFT_OUT = (SKIPPED, *(f"_{band}" for band in BANDS))


def main_metrics(rows: Sequence[Row]) -> list[str]:
    """Chooses the metrics that fit a terminal, of those with a value in some row.

    First AUC and GAUC of the main task or, where it has neither (a graded task), its first two results that have a
    better and worse; then the results that are of no task (recalls of a reference order and of stages). Of results that
    have no better and worse only where there are no others.
    """
    names = [name for name in dict.fromkeys(n for row in rows for n in row.metrics) if _has_value(rows, name)]
    names = [name for name in names if not name.endswith(_LEFT_OUT)]
    ranked = [name for name in names if goal_of(rows, name).ranks]
    of_task = [name for name in ranked if name.startswith(f"{_main_task(rows, ranked)}/")]
    first = [name for name in of_task if name.rsplit("/", 1)[-1] in _FIRST] or of_task[:_OF_TASK]
    chosen = [*first, *(name for name in ranked if "/" not in name)]
    return (chosen or names)[:_MOST]


def _has_value(rows: Sequence[Row], name: str) -> bool:
    """Whether some row has a number that can be compared."""
    found = (row.metrics[name].mean for row in rows if name in row.metrics and name not in row.elsewhere)
    return any(not math.isnan(mean) for mean in found)


def _main_task(rows: Sequence[Row], names: Sequence[str]) -> str:
    """The main task, if it has results, or the first that has."""
    tasks = list(dict.fromkeys(name.split("/")[0] for name in names if "/" in name))
    named = [row.main_task for row in rows if row.main_task in tasks]
    return (named or tasks or [""])[0]
