"""The charts of a page: only what was measured is drawn."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

from distill.metrics.long_tail import BANDS
from distill.reports.page.chart import Chart, Point, Series
from distill.reports.page.models import Model

_STAGES = ("preranked", "ranked", "exposed")
_MOST_RECALLS = 6
_COSTS = (
    ("ms_p50@1000", "milliseconds for 1,000 candidates, p50", 1.0),
    ("candidate_flops", "kFLOPs a candidate", 1e-3),
)


def recall_charts(models: Sequence[Model], task: str) -> list[Chart]:
    """Recalls by k: of the teacher's best, of stages, of the main task's positives, of other references."""
    names = _names(models, lambda e, role: e.curves[role].recall if role in e.curves else ())
    wanted = sorted(
        (name for name in names if "/" not in name or name == f"{task}/recall@k"),
        key=lambda name: not name.startswith(("teacher_recall@", f"{task}/")),
    )
    charts = []
    for name in wanted[:_MOST_RECALLS]:
        series = tuple(model.recalls(name) for model in models)
        charts.append(Chart(name, "k, passed on of each request (log scale)", name, series, log_x=True))
    return [chart for chart in charts if chart.legend]


def calibration_charts(models: Sequence[Model], task: str) -> list[Chart]:
    """Observed by predicted share of positives of the main task."""
    series = tuple(model.calibration(task) for model in models)
    chart = Chart(f"{task}: observed by predicted", "predicted probability", "observed share", series, diagonal=True)
    return [chart] if chart.legend else []


def band_charts(models: Sequence[Model], task: str) -> list[Chart]:
    """Metrics of head, torso and tail items."""
    ending = f"_{BANDS[0]}"
    stems = [n.removesuffix(ending) for n in _metrics(models) if n.endswith(ending) and _of(n, task)]
    return _by_category(models, {stem: {band: f"{stem}_{band}" for band in BANDS} for stem in stems}, "popularity")


def stage_charts(models: Sequence[Model], task: str) -> list[Chart]:
    """Stage recall at one k, by how far candidates got, and of positive labels."""
    cuts = [n.removesuffix("_exposed") for n in _metrics(models) if n.startswith("stage_recall@")]
    cuts = list(dict.fromkeys(cut.removesuffix("_ranked").removesuffix("_preranked") for cut in cuts))
    wanted = {
        cut: {**{stage: f"{cut}_{stage}" for stage in _STAGES}, f"{task} = 1": f"{task}/{cut}"} for cut in cuts[-1:]
    }
    return _by_category(models, wanted, "candidates that got to, or had")


def cost_charts(models: Sequence[Model], metrics: Sequence[str]) -> list[Chart]:
    """The first two metrics of the comparison against what a model costs online."""
    measured = [one for one in _COSTS if any(one[0] in model.row.cost for model in models)]
    if not measured:
        return []
    cost, label, scale = measured[0]
    charts = []
    for metric in metrics[:2]:
        series = []
        for model in models:
            x = model.row.cost[cost].mean * scale if cost in model.row.cost else math.nan
            point = model.value(metric, x, f"{model.label}: {metric} at {x:.4g} {label}") if x > 0 else None
            series.append(Series(model.label, model.colour, (point,) if point else (), line=False))
        charts.append(Chart(f"{metric} against cost", f"{label} (log scale)", metric, tuple(series), log_x=True))
    return [chart for chart in charts if chart.legend]


def learning_charts(models: Sequence[Model]) -> list[Chart]:
    """The monitored metric and the training loss by steps, a line for each seed."""
    curves = [(model, curve) for model in models for curve in model.learning()]
    charts = []
    for monitor in dict.fromkeys(curve.monitor for _, curve in curves):
        own = [(model, curve.step, curve.value) for model, curve in curves if curve.monitor == monitor]
        charts.append(Chart(f"{monitor} at each validation", "optimiser steps", monitor, _lines(own)))
    losses = _lines((model, curve.step, curve.loss) for model, curve in curves)
    charts.append(Chart("training loss", "optimiser steps", "train/loss", losses))
    return [chart for chart in charts if chart.legend]


def _lines(found: Iterable[tuple[Model, Sequence[int], Sequence[float | None]]]) -> tuple[Series, ...]:
    lines = []
    for model, steps, values in found:
        points = (Point(step, value) for step, value in zip(steps, values, strict=True) if value is not None)
        lines.append(Series(model.label, model.colour, tuple(points)))
    return tuple(lines)


def _by_category(models: Sequence[Model], wanted: dict[str, dict[str, str]], what: str) -> list[Chart]:
    """A chart for each group of metrics whose members are places on the horizontal axis."""
    charts = []
    for title, members in wanted.items():
        there = {category: name for category, name in members.items() if name in _metrics(models)}
        series = tuple(_places(model, list(there.values()), number, len(models)) for number, model in enumerate(models))
        charts.append(Chart(title, what, title, series, categories=tuple(there)))
    return [chart for chart in charts if chart.legend]


def _places(model: Model, names: Sequence[str], number: int, of: int) -> Series:
    """The values of a model, moved a little so that those of others stay seen."""
    moved = 0.3 * ((number + 0.5) / of - 0.5)
    points = (model.value(name, place + moved, f"{model.label}: {name}") for place, name in enumerate(names))
    return Series(model.label, model.colour, tuple(point for point in points if point is not None), line=False)


def _metrics(models: Sequence[Model]) -> list[str]:
    return list(dict.fromkeys(name for model in models for name in model.row.metrics))


def _names(models: Sequence[Model], named: Callable[..., Iterable[str]]) -> list[str]:
    found = (named(evidence, model.row.role) for model in models for _, evidence in model.evidence)
    return list(dict.fromkeys(name for names in found for name in names))


def _of(name: str, task: str) -> bool:
    """Whether a result is of a task, or of none."""
    return "/" not in name or name.startswith(f"{task}/")
