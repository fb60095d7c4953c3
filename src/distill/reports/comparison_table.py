"""A comparison of runs as a table in the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.table import Table
from rich.text import Text

from distill.reports.compare import Row, Statistic
from distill.reports.comparison_marks import best_rows, gap_text, mark, notes, validation_text, valued

# What a column of costs shows: its name, a factor, and digits.
COSTS = {
    "kFLOPs\n/cand.": ("candidate_flops", 1e-3, 2),
    "bytes\n/item": ("item_bytes", 1.0, 0),
    "ms for\n1,000": ("ms_p50@1000", 1.0, 2),
}


def comparison_table(rows: Sequence[Row], metrics: Sequence[str], title: str) -> Table:
    """Builds the table: bold for the best of the distilled (or plain) models; metrics without a value are not shown."""
    said, metrics = notes(rows, metrics), valued(rows, metrics)
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("configuration", overflow="fold", min_width=20)
    for name in ("model", "seeds"):
        table.add_column(name)
    for name in metrics:
        table.add_column(name.replace("/", "\n").replace("@", "\n@").replace("_recall", "\nrecall"), justify="right")
    costs = [label for label in COSTS if any(row.cost for row in rows)]
    for label in costs:
        table.add_column(label, justify="right")
    table.caption = "\n".join(said)
    table.caption_justify = "left"
    best = {name: best_rows(rows, name) for name in metrics}
    for row in rows:
        cells = []
        for name in metrics:
            statistic = row.metrics.get(name, Statistic.of([]))
            more = (gap_text(row, name).replace(" (", "\n("), validation_text(row, name))
            value = str(statistic).replace(" ± ", "\n±") + mark(row, name)
            text = "\n".join([value, *(part for part in more if part)])
            cells.append(Text(text, "bold") if row in best[name] else text)
        cells += [cost_text(row, label) for label in costs]
        table.add_row(row.configuration, row.role, row.over.replace(", ", ",").replace("; ", "\n"), *cells)
    return table


def cost_text(row: Row, label: str) -> str:
    """Writes a cost; a dash if it was not measured."""
    name, scale, digits = COSTS[label]
    return f"{scale * row.cost[name].mean:,.{digits}f}" if name in row.cost else "–"
