"""A comparison of runs as a picture: a panel for each metric, a line for each model."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from pathlib import Path

from distill.reports.compare import Row
from distill.reports.comparison_marks import best_rows, notes, star, valued
from distill.reports.comparison_places import names_of, places_line

_LABEL_WIDTH = 36  # characters
_COLORS = {"teacher": "#7f7f7f", "control": "#d08a2e", "distilled": "#2b6cb0", "model": "#2b6cb0"}


def draw_comparison(rows: Sequence[Row], metrics: Sequence[str], path: Path) -> None:
    """Draws mean and deviation of each metric, in the order of the rows from the top, with the mean on validation as a
    bar of its own; the best has a ring.

    Args:
        rows: Models.
        metrics: One panel each; a picture without panels says so.
        path: PNG to write.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # a second of import, seldom needed
    from matplotlib.figure import Figure

    said = " ".join(notes(rows, metrics)).replace("Bold:", "Ring:").replace("val:", "Upright bar:")
    metrics = valued(rows, metrics)
    explained = textwrap.wrap(" ".join([said, places_line(rows)]), 32 * len(metrics) + 40)
    labels = [_label(row, names_of(row, rows)) for row in rows]
    height = 1.5 + sum(max(0.3, 0.15 * len(label)) for label in labels) + 0.17 * len(explained)
    figure = Figure(figsize=(3.5 + 2.6 * len(metrics), height), layout="constrained")
    FigureCanvasAgg(figure)
    if not metrics:
        figure.text(0.5, 0.5, "No metric has a value.", ha="center")
        figure.savefig(path, dpi=150)
        return
    panels = figure.subplots(1, len(metrics), sharey=True, squeeze=False)[0]
    places = list(range(len(rows)))
    for panel, name in zip(panels, metrics, strict=True):
        best = best_rows(rows, name)
        for place, row in zip(places, rows, strict=True):
            statistic = row.metrics.get(name)
            if statistic is None or not math.isfinite(statistic.mean) or name in row.elsewhere:
                continue
            spread = 0.0 if math.isnan(statistic.deviation) else statistic.deviation
            color = _COLORS[row.role]
            panel.errorbar(statistic.mean, place, xerr=spread, fmt="o", markersize=5, color=color, capsize=2)
            if name in row.validation:
                panel.plot(row.validation[name].mean, place, "|", markersize=11, color=color)
            if row in best:
                panel.plot(statistic.mean, place, "o", markersize=10, markerfacecolor="none", color=color)
            if star(row, name):
                panel.annotate("*", (statistic.mean, place), (0, 3), textcoords="offset points", ha="center")
        panel.set_title(name, fontsize="medium")
        panel.grid(alpha=0.3)
        panel.tick_params(labelsize="small")
    panels[0].set_yticks(places, ["\n".join(label) for label in labels], fontsize="small")
    panels[0].set_ylim(len(rows) - 0.4, -0.6)
    if explained:
        figure.supxlabel("\n".join(explained), fontsize="small")
    figure.savefig(path, dpi=150)


def _label(row: Row, folders: str) -> list[str]:
    """What a row is and where its runs are, in lines that leave room for the panels."""
    text = row.configuration if row.role == "model" else f"{row.configuration}, {row.role}"
    named = textwrap.wrap(f"in {folders}", _LABEL_WIDTH) if folders else []
    return [*textwrap.wrap(text, _LABEL_WIDTH), *named] or [""]
