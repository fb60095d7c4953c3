"""A comparison of runs as a Markdown table."""

from __future__ import annotations

import math
from collections.abc import Sequence

from distill.reports.compare import COSTS, Row, Statistic, star


def comparison_markdown(rows: Sequence[Row], metrics: Sequence[str]) -> str:
    """Writes rows as a table: mean ± deviation of each metric, the share of the gap below it, and costs if measured."""
    costs = [label for label in COSTS if any(row.cost for row in rows)]
    head = ["configuration", "model", "seeds", *metrics, *(label.replace("\n", " ") for label in costs)]
    lines = [_line(head), _line(["---"] * 3 + ["---:"] * (len(head) - 3))]
    for row in rows:
        cells = [row.configuration, row.role, ", ".join(map(str, row.seeds))]
        cells += [_cell(row, name) for name in metrics]
        cells += [_cost(row, label) for label in costs]
        lines.append(_line(cells))
    return "\n".join(lines) + "\n"


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _cell(row: Row, metric: str) -> str:
    text = str(row.metrics.get(metric, Statistic.of([]))) + star(row, metric)
    share = row.gap_recovered.get(metric)
    if share is None or not share.n:
        return text
    deviation = "" if math.isnan(share.deviation) else f" ± {share.deviation:.0%}"
    return f"{text} ({share.mean:.0%}{deviation} of the gap)"


def _cost(row: Row, label: str) -> str:
    name, scale, digits = COSTS[label]
    return f"{scale * row.cost[name].mean:,.{digits}f}" if name in row.cost else "–"
