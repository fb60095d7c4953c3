"""Which metrics a comparison shows: those that its runs were asked for, or the main ones of any task."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from distill.metrics.base import SKIPPED
from distill.metrics.long_tail import BANDS
from distill.reports.compare import Row
from distill.reports.comparison_marks import goal_of

_MOST = 6  # columns that fit a terminal beside the costs
_OF_TASK = 2
_LEFT_OUT = (SKIPPED, *(f"_{band}" for band in BANDS))
_CUT = re.compile(r"@(\d+)")


def shown_metrics(rows: Sequence[Row]) -> list[str]:
    """Returns the metrics that the runs were asked to show (`metrics.report`); without, the main ones."""
    return list(dict.fromkeys(name for row in rows for name in row.report)) or main_metrics(rows)


def main_metrics(rows: Sequence[Row]) -> list[str]:
    """Chooses the metrics that fit a terminal, of those with a value in some row.

    AUC, recall@k and PCOC of the main task or, where it has no AUC (a graded task), its first two results that have a
    better and worse; stage recall, teacher recall and other results of no task. Of several cut-offs the largest, of
    several stages the last. Of results that have no better and worse only where there are no others.
    """
    names = [name for name in dict.fromkeys(n for row in rows for n in row.metrics) if _has_value(rows, name)]
    names = [name for name in names if not name.endswith(_LEFT_OUT)]
    ranked = [name for name in names if goal_of(rows, name).ranks]
    task = _main_task(rows, ranked)
    of_task = [name for name in ranked if name.startswith(f"{task}/")]
    first = [f"{task}/auc", *_last([name for name in of_task if name.startswith(f"{task}/recall@")])]
    if first[0] not in of_task:
        first = of_task[:_OF_TASK]
    others = [name for name in ranked if "/" not in name]
    stages = _last([name for name in others if name.startswith("stage_recall@")])
    orders = _last([name for name in others if name.startswith("teacher_recall@")])
    rest = [name for name in others if not name.startswith(("stage_recall@", "teacher_recall@"))]
    mean = [name for name in of_task if name == f"{task}/pcoc"]
    chosen = list(dict.fromkeys([*first, *stages, *orders, *mean, *rest]))
    return (chosen or names)[:_MOST]


def _last(names: Sequence[str]) -> list[str]:
    """The one of the largest cut-off; the last of several; none of none."""
    sizes = [int(found[1]) if (found := _CUT.search(name)) else 0 for name in names]
    return [name for name, size in zip(names, sizes, strict=True) if size == max(sizes)][-1:]


def _has_value(rows: Sequence[Row], name: str) -> bool:
    """Whether some row has a number that can be compared."""
    found = (row.metrics[name].mean for row in rows if name in row.metrics and name not in row.elsewhere)
    return any(not math.isnan(mean) for mean in found)


def _main_task(rows: Sequence[Row], names: Sequence[str]) -> str:
    """The main task, if it has results, or the first that has."""
    tasks = list(dict.fromkeys(name.split("/")[0] for name in names if "/" in name))
    named = [row.main_task for row in rows if row.main_task in tasks]
    return (named or tasks or [""])[0]
