"""What a comparison says of its numbers: the best, what is more than chance, what is not comparable."""

from __future__ import annotations

import math
from collections.abc import Sequence

from distill.metrics.goal import Goal
from distill.reports.compare import Row, Statistic, agreed
from distill.reports.numbers import number, percent
from distill.reports.paired import PAIRED_NOTE
from distill.reports.summary import FEW

_RANKED = ("distilled", "model")
_OVER_FOLDS = "seeds and folds; the training data of folds overlap, so it understates that of independent samples."


def star(row: Row, metric: str) -> str:
    """Marks a significant difference from the control."""
    return " *" if metric in row.tests and row.tests[metric].significant else ""


def mark(row: Row, metric: str) -> str:
    """Marks a significant difference from the control, and a teacher's number that is of other candidates."""
    return star(row, metric) + (" †" if metric in row.elsewhere else "")


def validation_text(row: Row, metric: str) -> str:
    """Writes the mean on validation; empty if it was not measured there."""
    return f"val {number(row.validation[metric].mean)}" if metric in row.validation else ""


def gap_text(row: Row, metric: str) -> str:
    """Writes the share of the gap: mean ± deviation, and of how many seeds, where not all had a gap; empty if none."""
    share = row.gap_recovered.get(metric)
    if share is None or not share.n:
        return ""
    deviation = "" if math.isnan(share.deviation) else f" ±{percent(share.deviation)}"
    kind = "runs" if row.folds else "seeds"
    seeds = "" if share.n == len(row.seeds) else f" ({share.n} of {len(row.seeds)} {kind})"
    return f"{percent(share.mean)}{deviation} of gap{seeds}"


def valued(rows: Sequence[Row], metrics: Sequence[str]) -> list[str]:
    """Leaves the metrics that some row has a value of: a table shows no others."""
    return [name for name in metrics if any(not math.isnan(_mean(row, name)) for row in rows)]


def notes(rows: Sequence[Row], metrics: Sequence[str]) -> list[str]:
    """Explains the marks that a table of these rows has, what is not ranked or left out, and how many requests count.

    Args:
        rows: Of the table.
        metrics: That it was asked for; see `valued`.
    """
    found = ["Bold: the best."] if any(best_rows(rows, name) for name in metrics) else []
    if different_data(rows):
        found.append("Not all rows are of the same data: none is ranked with rows of other data.")
    if any(len(row.seeds) > 1 for row in rows):
        folds = any(len(row.folds) > 1 for row in rows)
        found.append("± sample deviation over " + (_OVER_FOLDS if folds else "seeds."))
    if any(star(row, name) for row in rows for name in metrics):
        found.append(PAIRED_NOTE + ".")
    elif any(row.tests[name].few for row in rows for name in metrics if name in row.tests):
        found.append(f"Fewer than {FEW} requests count: too few to test a difference from the control.")
    if any(name in row.elsewhere for row in rows for name in metrics):
        found.append(
            "† of the candidates that the teacher scored only: not comparable with the other rows (the gap is)."
        )
    if any(name in row.validation for row in rows for name in metrics):
        found.append("val: on validation, at the best checkpoint.")
    if undefined := [name for name in metrics if name not in valued(rows, metrics)]:
        found.append(f"Not defined in any row, and left out: {', '.join(undefined)}.")
    few: dict[str, list[str]] = {}
    for name in metrics:
        if text := _few_requests(rows, name):
            few.setdefault(text, []).append(name)
    if few:
        listed = "; ".join(f"{text} for {', '.join(names)}" for text, names in few.items())
        found.append(f"Only requests whose order makes a difference count: {listed}.")
    return found


def _few_requests(rows: Sequence[Row], metric: str) -> str:
    """How many requests count for a metric of the students, if not all; as a range, if rows differ."""
    found = {row.counted[metric] for row in rows if row.role in _RANKED and metric in row.counted}
    if all(count == of for count, of in found):
        return ""
    return " to ".join(f"{count:,} of {of:,}" for count, of in dict.fromkeys((min(found), max(found))))


def different_data(rows: Sequence[Row]) -> bool:
    """Whether not all rows were tested on the same datasets."""
    return len({row.datasets for row in rows}) > 1


def goal_of(rows: Sequence[Row], metric: str) -> Goal:
    """What is better of a metric; neither, where rows do not agree or none has it."""
    return agreed([row.better[metric] for row in rows if metric in row.better])


def best_rows(rows: Sequence[Row], metric: str) -> list[Row]:
    """Finds the best of the distilled and plain models of each data: none where no two differ, or neither is better."""
    goal = goal_of(rows, metric)
    if not goal.ranks:
        return []
    by_data: dict[frozenset[str], list[Row]] = {}
    for row in rows:
        if row.role in _RANKED and not math.isnan(_mean(row, metric)):
            by_data.setdefault(row.datasets, []).append(row)
    best: list[Row] = []
    for rivals in by_data.values():
        distances = [goal.distance(_mean(row, metric)) for row in rivals]
        if min(distances) < max(distances):
            best += [row for row, distance in zip(rivals, distances, strict=True) if distance == min(distances)]
    return best


def _mean(row: Row, metric: str) -> float:
    return row.metrics.get(metric, Statistic.of([])).mean
