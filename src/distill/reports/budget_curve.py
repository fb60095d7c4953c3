"""Quality of models against what they cost online: a table, a CSV and a picture."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

from distill.errors import DataError
from distill.files import write_text_atomic
from distill.reports.summary import Summary

_COLUMNS = ("name", "seed", "role", "kFLOPs/candidate", "ms for 1,000")


def save_budget_curve(runs: Sequence[Summary], folder: Path, metric: str, console: Console) -> None:
    """Writes `budget_curve.csv` and `budget_curve.png` and prints the table, cheapest first.

    Args:
        runs: Summaries with costs; of each the student (or the only model) is drawn.
        folder: Where to write.
        metric: Name of the metric on the vertical axis.
        console: Where to print.

    Raises:
        DataError: A run has no cost or lacks the metric.
    """
    points = sorted((_point(run, metric) for run in runs), key=lambda point: point[3])
    title = f"{metric} on the test split, by cost"
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow([*_COLUMNS, metric])
    for name in (*_COLUMNS, metric):
        table.add_column(name)
    for name, seed, role, flops, milliseconds, value in points:
        writer.writerow([name, seed, role, flops, milliseconds, value])
        table.add_row(name, str(seed), role, f"{flops:,.3f}", f"{milliseconds:.2f}", f"{value:.4f}")
    folder.mkdir(parents=True, exist_ok=True)
    write_text_atomic(folder / "budget_curve.csv", text.getvalue())
    _draw([(point[0], point[3], point[5]) for point in points], metric, folder / "budget_curve.png")
    console.print(table)
    console.print(f"Curve: {folder / 'budget_curve.png'}", soft_wrap=True)


def _point(run: Summary, metric: str) -> tuple[str, int, str, float, float, float]:
    role = "distilled" if "distilled" in run.metrics else "model"
    cost, value = run.cost.get(role, {}), run.metrics.get(role, {}).get(metric, math.nan)
    if not cost or math.isnan(value):
        raise DataError(
            "This run has no place on the curve.",
            where=run.name,
            expected=f"a measured cost (cost.enabled=true) and the metric {metric}",
            found=f"cost: {'yes' if cost else 'no'}; metrics: " + ", ".join(run.metrics.get(role, {})),
        )
    return run.name, run.seed, role, cost["candidate_flops"] / 1000, cost["ms_p50@1000"], value


def _draw(points: Sequence[tuple[str, float, float]], metric: str, path: Path) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # a second of import, seldom needed
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    by_cost: dict[float, list[float]] = {}
    for _, cost, value in points:
        by_cost.setdefault(cost, []).append(value)
    costs = sorted(by_cost)
    axes.plot(costs, [sum(by_cost[cost]) / len(by_cost[cost]) for cost in costs], color="0.6", zorder=1)
    for name in dict.fromkeys(point[0] for point in points):
        own = [(cost, value) for other, cost, value in points if other == name]
        axes.scatter([cost for cost, _ in own], [value for _, value in own], label=name, zorder=2)
    axes.set_xlabel("thousand floating-point operations a candidate, online")
    axes.set_ylabel(f"{metric}, test split")
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")
    figure.savefig(path, dpi=150)
