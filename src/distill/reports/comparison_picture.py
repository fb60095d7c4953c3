"""A comparison of runs as a picture: a panel for each metric, a line for each model."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from distill.reports.compare import Row

_COLORS = {"teacher": "#7f7f7f", "control": "#d08a2e", "distilled": "#2b6cb0", "model": "#2b6cb0"}


def draw_comparison(rows: Sequence[Row], metrics: Sequence[str], path: Path) -> None:
    """Draws mean and deviation of each metric, in the order of the rows from the top.

    Args:
        rows: Models.
        metrics: One panel each.
        path: PNG to write.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # a second of import, seldom needed
    from matplotlib.figure import Figure

    height = 1.2 + 0.3 * len(rows)
    figure = Figure(figsize=(3.5 + 2.6 * len(metrics), height), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, len(metrics), sharey=True, squeeze=False)[0]
    places = list(range(len(rows)))
    for panel, name in zip(panels, metrics, strict=True):
        for place, row in zip(places, rows, strict=True):
            statistic = row.metrics.get(name)
            if statistic is None or math.isnan(statistic.mean):
                continue
            spread = 0.0 if math.isnan(statistic.deviation) else statistic.deviation
            panel.errorbar(
                statistic.mean, place, xerr=spread, fmt="o", markersize=5, color=_COLORS[row.role], capsize=2
            )
        panel.set_title(name, fontsize="medium")
        panel.grid(alpha=0.3)
        panel.tick_params(labelsize="small")
    labels = [row.configuration if row.role == "model" else f"{row.configuration}, {row.role}" for row in rows]
    panels[0].set_yticks(places, labels, fontsize="small")
    panels[0].invert_yaxis()
    figure.savefig(path, dpi=150)
