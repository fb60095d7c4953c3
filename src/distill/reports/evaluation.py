"""Any models on any data: what was measured, as a table, as JSON and, over several days, as a picture."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from distill.files import write_text_atomic
from distill.reports.numbers import number
from distill.reports.summary import FEW, Difference
from distill.reports.table import labelled

EVALUATION_FILE = "evaluation.json"
PICTURE_FILE = "over_days.png"
TEACHER = "teacher"


@dataclass(frozen=True)
class Evaluation:
    """What models measured on one set of rows.

    Attributes:
        data: Name of the rows: the last part of the source's path, or of the dataset's folder.
        split: Of the dataset; `all` of raw files.
        requests: Number of requests.
        candidates: Number of candidates.
        models: Name to the file of the model.
        metrics: Name of a model, or `teacher`, to metric name to value.
        better: Metric name to what is better: `up`, `down`, `none`, or the best value in the middle.
        counted: Name to metric name to the number of requests that count, of means over requests.
        differences: Name of each model but the first to the paired differences of the first one and it.
        unknown: Field to the share of its values that the encodings do not know; of fields that have some.
    """

    data: str
    split: str
    requests: int
    candidates: int
    models: dict[str, str]
    metrics: dict[str, dict[str, float]]
    better: dict[str, str | float]
    counted: dict[str, dict[str, int]]
    differences: dict[str, dict[str, Difference]]
    unknown: dict[str, float]


def save_evaluations(found: Sequence[Evaluation], folder: Path, metric: str) -> None:
    """Writes `evaluation.json`, and of several `over_days.png`, a picture of one metric of every model."""
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps([_finite(asdict(one)) for one in found], indent=2, allow_nan=False)
    write_text_atomic(folder / EVALUATION_FILE, text + "\n")
    if len(found) > 1:
        _draw(found, metric, folder / PICTURE_FILE)


def print_evaluation(found: Evaluation, console: Console) -> None:
    """Prints the models side by side; of two, their paired difference."""
    names = list(found.metrics)
    title = f"{found.data}, {'all rows' if found.split == 'all' else f'{found.split} split'}"
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    table.add_column("metric", overflow="fold")
    for name in names:
        table.add_column(name, justify="right", overflow="fold")
    first = next(iter(found.models))
    for other in found.differences:
        table.add_column(f"{first}\n− {other}", justify="right", overflow="fold")
    metrics = dict.fromkeys(
        metric for values in found.metrics.values() for metric, value in values.items() if not math.isnan(value)
    )
    for metric, label in labelled(list(metrics)):
        cells = [number(found.metrics[name].get(metric, math.nan)) for name in names]
        cells += [_difference(differences.get(metric)) for differences in found.differences.values()]
        table.add_row(label, *cells)
    console.print(table)
    console.print(f"{found.requests:,} requests, {found.candidates:,} candidates.", style="dim")
    if found.differences:
        console.print("± standard error over requests, * where the difference is more than two of them.", style="dim")
        if any(difference.few for others in found.differences.values() for difference in others.values()):
            console.print(f"Where fewer than {FEW} requests count, there are too few for a *.", style="dim")
    if found.unknown:
        shares = ", ".join(f"{name} {share:.1%}" for name, share in found.unknown.items())
        console.print(f"Values that the encodings do not know: {shares}.", style="dim", soft_wrap=True)


def print_days(found: Sequence[Evaluation], metric: str, console: Console) -> None:
    """Prints one metric of every model, a row for each set of rows."""
    names = list(dict.fromkeys(name for one in found for name in one.metrics))
    table = Table(title=metric, title_justify="left", box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for name in ("data", "requests", *names):
        table.add_column(name, justify="left" if name == "data" else "right", overflow="fold")
    for one in found:
        values = [number(one.metrics.get(name, {}).get(metric, math.nan)) for name in names]
        table.add_row(one.data, f"{one.requests:,}", *values)
    console.print(table)


def _difference(found: Difference | None) -> str:
    if found is None:
        return ""
    mark = "*" if found.significant else " "
    return f"{number(found.mean, '+')} ± {number(found.standard_error)}{mark}"


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _finite(item) for name, item in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _draw(found: Sequence[Evaluation], metric: str, path: Path) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # a second of import, seldom needed
    from matplotlib.figure import Figure

    figure = Figure(figsize=(max(6.0, 0.6 * len(found) + 3), 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    places = range(len(found))
    for name in dict.fromkeys(name for one in found for name in one.metrics):
        values = [one.metrics.get(name, {}).get(metric, math.nan) for one in found]
        axes.plot(places, values, marker="o", label=name, linestyle="--" if name == TEACHER else "-")
    many = len(found) > 4
    axes.set_xticks(places, [one.data for one in found], rotation=45 if many else 0, ha="right" if many else "center")
    axes.set_ylabel(metric)
    axes.grid(visible=True, alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=150)
