"""The result of one run as a table in the terminal."""

from __future__ import annotations

import math
from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table

from distill.metrics.long_tail import BANDS
from distill.reports.summary import ROLES, Summary

# What a row shows: its label, the name of the cost, a factor, and digits.
_COST_ROWS = (
    ("kFLOPs/request", "request_flops", 1e-3, 1),
    ("kFLOPs/candidate", "candidate_flops", 1e-3, 2),
    ("lookups/candidate", "candidate_lookups", 1.0, 0),
    ("bytes/item", "item_bytes", 1.0, 0),
    ("ms for 1,000, p50", "ms_p50@1000", 1.0, 2),
    ("ms for 1,000, p99", "ms_p99@1000", 1.0, 2),
)


def print_summary(summary: Summary, console: Console) -> None:
    """Prints teacher, control and distilled side by side, with sizes and times."""
    console.print(summary_table(summary))
    notes = ["± standard error over requests, * where the difference is more than two of them"] * bool(
        summary.differences
    )
    notes += ["seconds*: trained before, taken from the cache"] * bool(summary.cached)
    if notes:
        console.print("; ".join(notes) + ".", style="dim")


def summary_table(summary: Summary) -> Table:
    """Builds the table of a run."""
    roles = [role for role in (*ROLES, "model") if role in summary.metrics]
    title = f"{summary.name}, seed {summary.seed}, test split"
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    table.add_column("metric", no_wrap=True)
    for role in roles:
        table.add_column(role, justify="right", no_wrap=True)
    if summary.gap_recovered:
        table.add_column("gap re-\ncovered", justify="right", no_wrap=True)
        table.add_column("distilled\n− control", justify="right", no_wrap=True)
    for name, label in _labelled(metric_names(summary)):
        cells = [number(summary.metrics[role].get(name, math.nan)) for role in roles]
        if summary.gap_recovered:
            share = summary.gap_recovered.get(name)
            cells += ["" if share is None else f"{share:.0%}", _difference(summary, name)]
        table.add_row(label, *cells)
    table.add_section()
    for label, values in (("parameters", summary.parameters), ("steps", summary.steps)):
        table.add_row(label, *(f"{values[role]:,}" if role in values else "–" for role in roles))
    table.add_row("seconds", *(_seconds(summary, role) for role in roles))
    if summary.cost:
        _add_cost(table, summary, roles)
    return table


def _add_cost(table: Table, summary: Summary, roles: Sequence[str]) -> None:
    table.add_section()
    for label, name, scale, digits in _COST_ROWS:
        values = [summary.cost.get(role, {}).get(name, math.nan) for role in roles]
        table.add_row(label, *("–" if math.isnan(value) else f"{value * scale:,.{digits}f}" for value in values))


def _labelled(names: Sequence[str]) -> list[tuple[str, str]]:
    """Returns the metrics to print with their labels; of the bands of popularity the tail alone, below its metric."""
    bands = tuple(f"_{band}" for band in BANDS)
    found: list[tuple[str, str]] = []
    for name in (n for n in names if not n.endswith(bands)):
        found.append((name, name))
        if (tail := f"{name}_{BANDS[-1]}") in names:
            found.append((tail, "  of tail items"))
    return found


def metric_names(summary: Summary) -> Sequence[str]:
    """Returns the names of all metrics, in the order in which they were computed."""
    names: dict[str, None] = {}
    for values in summary.metrics.values():
        names |= dict.fromkeys(values)
    return list(names)


def number(value: float) -> str:
    """Formats a metric; a dash if it is not defined."""
    return "–" if math.isnan(value) else f"{value:.4f}"


def _difference(summary: Summary, name: str) -> str:
    found = summary.differences.get(name)
    if found is None:
        values = [summary.metrics[role].get(name, math.nan) for role in ("distilled", "control")]
        return "" if any(math.isnan(v) for v in values) else f"{values[0] - values[1]:+.4f}        "
    mark = "*" if abs(found.mean) > 2 * found.standard_error else " "
    return f"{found.mean:+.4f}±{found.standard_error:.4f}{mark}"


def _seconds(summary: Summary, role: str) -> str:
    if role not in summary.seconds:
        return "–"
    return f"{summary.seconds[role]:.0f}" + ("*" if role in summary.cached else "")
