"""A comparison of runs as a table in the terminal."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

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
_NAMES = 20  # characters that the configurations have at least; longer ones are folded
_EDGES = 2  # characters before the first column and behind the last
_BETWEEN = 3  # characters between columns: padding, and the gap of the box


@dataclass(frozen=True)
class _Column:
    """A column: what is left out of a narrow table by that name, its head, and a cell for each row."""

    name: str
    head: str
    cells: tuple[str | Text, ...]

    @property
    def width(self) -> int:
        """Characters of its longest line."""
        return max(len(line) for text in (self.head, *map(str, self.cells)) for line in text.split("\n"))


def comparison_table(rows: Sequence[Row], metrics: Sequence[str], title: str, width: int | None = None) -> Table:
    """Builds the table: bold for the best of the distilled (or plain) models; metrics without a value are not shown.

    Args:
        rows: Models.
        metrics: Columns; costs follow, if they were measured.
        title: Of the table.
        width: Of the terminal: the last columns that do not fit are left out and named. None leaves none out.
    """
    said, metrics = notes(rows, metrics), valued(rows, metrics)
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("configuration", overflow="fold", min_width=_NAMES)
    names = [_column("model", rows, lambda row: row.role), _column("seeds", rows, _seeds)]
    numbers = [_metric(rows, name) for name in metrics]
    if any(row.cost for row in rows):
        numbers += [_column(label, rows, lambda row, label=label: cost_text(row, label)) for label in COSTS]  # type: ignore[misc]
    kept = _that_fit(numbers, width, _NAMES + _EDGES + sum(_BETWEEN + column.width for column in names))
    for column in names:
        table.add_column(column.head)
    for column in kept:
        table.add_column(column.head, justify="right")
    for row, *cells in zip(rows, *(column.cells for column in (*names, *kept)), strict=True):
        table.add_row(row.configuration, *cells)
    if left_out := [column.name for column in numbers[len(kept) :]]:
        said.append(f"Too wide for this terminal: {', '.join(left_out)}.")
    table.caption = "\n".join(said)
    table.caption_justify = "left"
    return table


def cost_text(row: Row, label: str) -> str:
    """Writes a cost; a dash if it was not measured."""
    name, scale, digits = COSTS[label]
    return f"{scale * row.cost[name].mean:,.{digits}f}" if name in row.cost else "–"


def column_name(head: str) -> str:
    """Returns the head of a column in one line."""
    return head.replace("\n", " ").replace(" /", "/")


def _that_fit(columns: Sequence[_Column], width: int | None, taken: int) -> Sequence[_Column]:
    """The first columns, at least one, that fit beside what is taken already."""
    if width is None:
        return columns
    kept = 0
    for column in columns:
        taken += _BETWEEN + column.width
        if taken > width and kept:
            break
        kept += 1
    return columns[:kept]


def _column(head: str, rows: Sequence[Row], text: Callable[[Row], str]) -> _Column:
    return _Column(column_name(head), head, tuple(text(row) for row in rows))


def _seeds(row: Row) -> str:
    return row.over.replace(", ", ",").replace("; ", "\n")


def _metric(rows: Sequence[Row], name: str) -> _Column:
    head = name.replace("/", "\n").replace("@", "\n@").replace("_recall", "\nrecall")
    best = best_rows(rows, name)
    cells: list[str | Text] = []
    for row in rows:
        more = (gap_text(row, name).replace(" (", "\n("), validation_text(row, name))
        value = str(row.metrics.get(name, Statistic.of([]))).replace(" ± ", "\n±") + mark(row, name)
        text = "\n".join([value, *(part for part in more if part)])
        cells.append(Text(text, "bold") if row in best else text)
    return _Column(name, head, tuple(cells))
