"""The tables of a page: models as columns for one run, as rows for several."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from distill.reports.comparison_marks import best_rows, gap_text, mark, validation_text, valued
from distill.reports.evidence import DataRead
from distill.reports.numbers import number
from distill.reports.page.models import Model
from distill.reports.table import COST_ROWS


@dataclass(frozen=True)
class Cell:
    """A number with the lines that stand below it."""

    text: str
    below: tuple[str, ...] = ()
    best: bool = False


@dataclass(frozen=True)
class Table:
    """A table: names of its columns, and rows of a name and cells.

    Attributes:
        head: Of the columns, that of the names first.
        rows: Names with their cells.
        linked: Whether names are those of metrics, which lead to the glossary.
        title: Of a table that is closed at first; empty of one that is open.
        prose: Whether cells are text, which is broken into lines, in place of numbers.
    """

    head: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Cell, ...]], ...]
    linked: bool = False
    title: str = ""
    prose: bool = False


def by_metric(models: Sequence[Model], metrics: Sequence[str]) -> Table:
    """Metrics that have a value as rows, models as columns; with the difference from the control where tested."""
    metrics = valued([model.row for model in models], metrics)
    tested = [model for model in models if model.row.tests]
    head = ("metric", *(model.label for model in models), *(f"{model.label} − control" for model in tested))
    best = {name: best_rows([model.row for model in models], name) for name in metrics}
    rows = []
    for name in metrics:
        cells = [_cell(model, name, model.row in best[name]) for model in models]
        rows.append((name, (*cells, *(_difference(model, name) for model in tested))))
    return Table(head, (*rows, *_cost_rows(models, len(tested))), linked=True)


def by_model(models: Sequence[Model], metrics: Sequence[str]) -> Table:
    """Models as rows, metrics that have a value and costs as columns."""
    metrics = valued([model.row for model in models], metrics)
    costs = [cost for cost in COST_ROWS if any(cost[1] in model.row.cost for model in models)]
    best = {name: best_rows([model.row for model in models], name) for name in metrics}
    head = ("model", "seeds", *metrics, *(label for label, *_ in costs))
    rows = []
    for model in models:
        cells = [Cell(model.row.over)]
        cells += [_cell(model, name, model.row in best[name]) for name in metrics]
        cells += [_cost(model, name, scale, digits) for _, name, scale, digits in costs]
        rows.append((model.label, tuple(cells)))
    return Table(head, tuple(rows), linked=True)


def places(models: Sequence[Model]) -> Table:
    """Where the runs and their best checkpoints are."""
    rows = [
        (model.label, (Cell(str(run.seed)), Cell(run.folder or "–"), Cell(run.checkpoint or "–")))
        for model in models
        for run in model.row.runs
    ]
    return Table(("model", "seed", "run folder", "best checkpoint"), tuple(rows), prose=True)


def splits(data: DataRead) -> Table:
    """What a dataset holds."""
    numbers: tuple[Callable[..., int], ...] = tuple(
        lambda split, name=name: getattr(split, name) for name in ("requests", "candidates", "bytes", "files")
    )
    rows = [(split.name, tuple(Cell(f"{of(split):,}") for of in numbers)) for split in data.splits]
    return Table((f"split of {data.fingerprint[:6]}", "requests", "candidates", "bytes", "files"), tuple(rows))


def _cell(model: Model, metric: str, best: bool) -> Cell:
    found = model.row.metrics.get(metric)
    if found is None:
        return Cell("–")
    below = (gap_text(model.row, metric), validation_text(model.row, metric))
    return Cell(str(found) + mark(model.row, metric), tuple(text for text in below if text), best)


def _difference(model: Model, metric: str) -> Cell:
    test = model.row.tests.get(metric)
    if test is None:
        return Cell("")
    return Cell(f"{number(test.difference, '+')} ± {number(test.standard_error)}{' *' if test.significant else ''}")


def _cost_rows(models: Sequence[Model], empty: int) -> list[tuple[str, tuple[Cell, ...]]]:
    return [
        (label, (*(_cost(model, name, scale, digits) for model in models), *[Cell("")] * empty))
        for label, name, scale, digits in COST_ROWS
        if any(name in model.row.cost for model in models)
    ]


def _cost(model: Model, name: str, scale: float, digits: int) -> Cell:
    found = model.row.cost.get(name)
    return Cell("–" if found is None or math.isnan(found.mean) else f"{found.mean * scale:,.{digits}f}")
