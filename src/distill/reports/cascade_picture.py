"""A cascade's pictures: quality against cost with its front, what each stage loses, and for whom."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from distill.cascade.measures import LOSSES
from distill.reports.cascade import QUALITY, CascadeReport, Point

_STAGE_COLOURS = {"prerank": "#2b6cb0", "rank": "#d08a2e", "page": "#7f7f7f"}
_STAGE_LABELS = {"prerank": "the pre-ranker", "rank": "the ranker", "page": "the page"}


def draw_front(report: CascadeReport, path: Path) -> bool:
    """Draws shown recall against milliseconds (against k, where costs are not known); the front is ringed."""
    figure, axes = _figure(1)
    timed = any(math.isfinite(point.milliseconds) for point in report.points)
    for student in report.students:
        own = [point for point in report.points if point.student == student]
        x = [point.milliseconds if timed else point.k for point in own]
        errors = [0.0 if math.isnan(e) else e for e in (point.recalls[QUALITY].error for point in own)]
        axes[0].errorbar(x, [p.recalls[QUALITY].value for p in own], errors, marker="o", capsize=2, label=student)
        for place, point in zip(x, own, strict=True):
            axes[0].annotate(f"k={point.k}", (place, point.recalls[QUALITY].value), (4, -10),
                             textcoords="offset points", fontsize="small")  # fmt: skip
    front = [p for p in report.points if p.front]
    if front:
        axes[0].plot([p.milliseconds for p in front], [p.recalls[QUALITY].value for p in front], "o", markersize=11,
                     markerfacecolor="none", color="black", label="front")  # fmt: skip
    axes[0].set_xlabel("milliseconds of a request, one thread, all stages" if timed else "k, passed on by the student")
    axes[0].set_ylabel(f"shown recall: share of the {report.shown}\nthat the ranker alone would show")
    axes[0].legend()
    return _saved(figure, path)


def draw_losses(report: CascadeReport, path: Path) -> bool:
    """Draws the share of the best page's value that each stage loses; nothing, where values are not known."""
    points = [point for point in report.points if point.lost]
    if not points:
        return False
    figure, axes = _figure(1, 1.5 + 0.32 * len(points))
    places, left = range(len(points)), [0.0] * len(points)
    for stage in LOSSES:
        share = [100 * point.lost[stage].value / point.value["best"].value for point in points]
        axes[0].barh(places, share, left=left, color=_STAGE_COLOURS[stage], label=f"lost by {_STAGE_LABELS[stage]}")
        left = [a + b for a, b in zip(left, share, strict=True)]
    axes[0].set_yticks(places, [_label(point) for point in points])
    axes[0].invert_yaxis()
    axes[0].set_xlabel(f"% of the value of the best page ({report.truth})")
    figure.legend(loc="outside upper center", ncols=len(LOSSES), fontsize="small")
    return _saved(figure, path)


def draw_groups(report: CascadeReport, path: Path) -> bool:
    """Draws shown recall by group at the middle k, a panel for each division; nothing, where there is none."""
    ks = sorted({point.k for point in report.points})
    points = [point for point in report.points if point.k == ks[len(ks) // 2]]
    names = list(dict.fromkeys(name for point in points for name in point.groups))
    if not names:
        return False
    figure, axes = _figure(len(names))
    for panel, name in zip(axes, names, strict=True):
        groups = list(points[0].groups[name])
        width = 0.8 / len(points)
        for i, point in enumerate(points):
            found: Mapping[str, Any] = point.groups[name]
            places = [g + (i - (len(points) - 1) / 2) * width for g in range(len(groups))]
            values = [found[group].recall.value for group in groups]
            errors = [0.0 if math.isnan(e) else e for e in (found[group].recall.error for group in groups)]
            panel.bar(places, values, width, yerr=errors, capsize=2, label=point.student)
        panel.set_xticks(range(len(groups)), groups)
        panel.set_title(f"by {name}", fontsize="medium")
    axes[0].set_ylabel(f"shown recall at k={points[0].k}")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=len(points), fontsize="small")
    return _saved(figure, path)


def _label(point: Point) -> str:
    return f"{point.student}, k={point.k}"


def _figure(panels: int, height: float = 4.5) -> tuple[Any, Any]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # a second of import, seldom needed
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3.0 + 4.0 * panels, height), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, panels, sharey=True, squeeze=False)[0]
    for panel in axes:
        panel.grid(visible=True, alpha=0.3)
        panel.set_axisbelow(True)
    return figure, axes


def _saved(figure: Any, path: Path) -> bool:
    figure.savefig(path, dpi=150)
    return True
