"""The picture of a scaling study: a column for each size that grows, levels above and gaps recovered below."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from distill.reports.point import Number
from distill.reports.scaling import METRICS, MILLISECONDS, REQUEST, Scaling, ScalingArm
from distill.reports.summary import ROLES

_ROLE_COLOURS = {"teacher": "#7f7f7f", "control": "#d08a2e", "distilled": "#2b6cb0"}
_METRIC_COLOURS = ("#2b6cb0", "#2f855a", "#9b2c2c")
_LEVELS = "best_recall@20_10"


def draw_scaling(found: Scaling, path: Path) -> None:
    """Draws the truly best that each model finds, and what of three gaps is recovered, against the student's size and
    its milliseconds, the data, and the teacher's size.

    Args:
        found: The study; curves of one point are left out.
        path: PNG to write.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # a second of import, seldom needed
    from matplotlib.figure import Figure

    columns = [column for column in _columns(found) if len(found.on(column[0])) > 1]
    if not columns:
        columns = _columns(found)[:1]
    figure = Figure(figsize=(1.5 + 4.0 * len(columns), 7.5), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(2, len(columns), sharey="row", sharex="col", squeeze=False)
    for (axis, title, scale, place), levels, gaps in zip(columns, *panels, strict=True):
        arms = sorted(found.on(axis), key=place)
        x = [place(arm) for arm in arms]
        for role in ROLES:
            _curve(levels, x, [arm.metric(role, _LEVELS) for arm in arms], role, _ROLE_COLOURS[role])
        for (metric, name), colour in zip(METRICS.items(), _METRIC_COLOURS, strict=True):
            _curve(gaps, x, [arm.gap(metric) for arm in arms], name, colour)
        for arm, at in zip(arms, x, strict=True):
            levels.annotate(_label(axis, arm), (at, arm.metric("distilled", _LEVELS).value), (0, -12),
                            textcoords="offset points", fontsize="x-small", ha="center")  # fmt: skip
        for panel in (levels, gaps):
            panel.set_xscale(scale)
            panel.tick_params(axis="x", which="minor", labelbottom=False)
            panel.grid(visible=True, alpha=0.3)
        gaps.set_xlabel(title)
    panels[0][0].set_ylabel(f"{METRICS[_LEVELS]} @(20, 10)")
    panels[1][0].set_ylabel("share of the gap recovered")
    panels[0][0].legend(fontsize="small")
    panels[1][0].legend(fontsize="small")
    worlds = len(found.seeds)
    said = f"mean ± deviation over {worlds} worlds" if worlds > 1 else "one world"
    figure.suptitle(f"{found.candidates:,} training candidates; {said}", fontsize="small")
    figure.savefig(path, dpi=130)


def _columns(found: Scaling) -> list[tuple[str, str, str, Callable[[ScalingArm], float]]]:
    """Axis, title, scale and place of an arm, of each column."""

    def milliseconds(arm: ScalingArm) -> float:
        return found.costs[f"student {arm.student}"][MILLISECONDS]

    def sized(axis: str) -> Callable[[ScalingArm], float]:
        return lambda arm: found.size(axis, arm)

    return [
        ("students", "parameters of the student", "log", sized("students")),
        ("students", f"ms of a request of {REQUEST:,}, one thread", "linear", milliseconds),
        ("data", "training candidates", "log", sized("data")),
        ("teachers", "FLOPs of the teacher for a candidate", "log", sized("teachers")),
    ]


def _curve(panel: Any, x: list[float], y: list[Number], name: str, colour: str) -> None:
    errors = [0.0 if math.isnan(one.error) else one.error for one in y]
    panel.errorbar(x, [one.value for one in y], errors, marker="o", markersize=4, capsize=2, label=name, color=colour)


def _label(axis: str, arm: ScalingArm) -> str:
    names: Mapping[str, str] = {"students": arm.student, "teachers": arm.teacher}
    return names.get(axis, "")
