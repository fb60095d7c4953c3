"""A comparison of runs as a Markdown table."""

from __future__ import annotations

from collections.abc import Sequence

from distill.reports.compare import Row, RowRun, Statistic
from distill.reports.comparison_marks import best_rows, gap_text, mark, notes, validation_text, valued
from distill.reports.comparison_table import COSTS, column_name, cost_text


def comparison_markdown(rows: Sequence[Row], metrics: Sequence[str]) -> str:
    """Writes rows as a table: mean ± deviation of each metric, share of the gap and mean on validation, and costs if
    measured; then where the runs and their best checkpoints are.

    The best of each metric is bold; what the marks mean stands below.
    """
    explained, metrics = " ".join(notes(rows, metrics)).replace("*", "\\*"), valued(rows, metrics)
    costs = [label for label in COSTS if any(row.cost for row in rows)]
    head = ["configuration", "model", "seeds", *metrics, *(column_name(label) for label in costs)]
    lines = [_line(head), _line(["---"] * 3 + ["---:"] * (len(head) - 3))]
    best = {name: best_rows(rows, name) for name in metrics}
    for row in rows:
        cells = [row.configuration, row.role, row.over]
        cells += [_cell(row, name, row in best[name]) for name in metrics]
        cells += [cost_text(row, label) for label in costs]
        lines.append(_line(cells))
    lines += ["", *_places(rows)]
    lines += ["", "What the metrics mean: the last part of report.html, and the glossary of the pages."]
    return "\n".join([*lines, *["", explained] * bool(explained)]) + "\n"


def _places(rows: Sequence[Row]) -> list[str]:
    """A table of the runs: folders, and the best checkpoint of each."""
    lines = [_line(["configuration", "model", "seed", "run folder", "best checkpoint"]), _line(["---"] * 5)]
    for row in rows:
        for run in row.runs:
            places = (f"`{place}`" if place else "–" for place in (run.folder, run.checkpoint))
            lines.append(_line([row.configuration, row.role, _part(run), *places]))
    return lines


def _part(run: RowRun) -> str:
    return str(run.seed) if run.fold is None else f"{run.seed}, fold {run.fold}"


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _cell(row: Row, metric: str, best: bool) -> str:
    value = str(row.metrics.get(metric, Statistic.of([])))
    text = (f"**{value}**" if best else value) + mark(row, metric).replace("*", "\\*")
    return ", ".join([text, *(more for more in (gap_text(row, metric), validation_text(row, metric)) if more)])
