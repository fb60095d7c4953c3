"""The result of one run as a table in the terminal."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table

from distill.console import plain_console
from distill.metrics.long_tail import BANDS
from distill.reports.numbers import NONE, number, percent
from distill.reports.summary import FEW, ROLES, Summary

_LOG_WIDTH = 120
_TEACHER_RECALL = "teacher_recall@"
_SAME = 1e-6  # rounding of a mean over requests
# What a row shows: its label, the name of the cost, a factor, and digits.
COST_ROWS = (
    ("kFLOPs/request", "request_flops", 1e-3, 1),
    ("kFLOPs/candidate", "candidate_flops", 1e-3, 2),
    ("lookups/candidate", "candidate_lookups", 1.0, 0),
    ("bytes/item", "item_bytes", 1.0, 0),
    ("ms for 1,000, p50", "ms_p50@1000", 1.0, 2),
    ("ms for 1,000, p99", "ms_p99@1000", 1.0, 2),
    ("ms to encode a request", "encode_ms_p50", 1.0, 3),
)


def print_summary(summary: Summary, console: Console) -> None:
    """Prints teacher, control and distilled side by side, with sizes and times."""
    console.print(summary_table(summary))
    if summary.on_scored:
        console.print()
        console.print(scored_table(summary))
    found = notes(summary)
    if found:
        console.print("\n".join(f"{note}." for note in found), style="dim")


def summary_text(summary: Summary) -> str:
    """Returns what `print_summary` prints, as lines of a log file."""
    written = io.StringIO()
    print_summary(summary, plain_console(file=written, width=_LOG_WIDTH))
    return "\n".join(["", *(line.rstrip() for line in written.getvalue().rstrip().splitlines())])


def summary_table(summary: Summary) -> Table:
    """Builds the table of a run; a metric that no model has is left out, and so is a cost."""
    roles = [role for role in (*ROLES, "model") if role in summary.metrics]
    paired = {"control", "distilled"} <= summary.metrics.keys()
    table = _empty(f"{summary.name}, seed {summary.seed}, test split", roles, bool(summary.gap_recovered))
    if paired:
        table.add_column("distilled\n− control", justify="right", no_wrap=True)
    for name, label in labelled(metric_names(summary)):
        cells = [_value(summary, role, name) for role in roles]
        if summary.gap_recovered:
            cells.append(_share(summary, name) if summary.comparable("teacher", name) else "")
        if paired:
            cells.append(_difference(summary, name))
        table.add_row(label, *cells)
    table.add_section()
    for label, values in (("parameters", summary.parameters), ("steps", summary.steps)):
        table.add_row(label, *(f"{values[role]:,}" if role in values else "–" for role in roles))
    table.add_row("seconds", *(_seconds(summary, role) for role in roles))
    if summary.cost:
        _add_cost(table, summary, roles)
    return table


def scored_table(summary: Summary) -> Table:
    """Builds the table of the metrics that can be compared with the teacher's on a part of the candidates only."""
    values = {"teacher": summary.metrics["teacher"], **summary.on_scored}
    share = "some" if summary.scored is None else f"{100 * summary.scored:.3g}%"
    table = _empty(f"On the {share} of the candidates that the teacher scored", list(values), True)
    names = dict.fromkeys(name for own in summary.on_scored.values() for name in own)
    for name, label in labelled(list(names)):
        cells = [number(own.get(name, math.nan)) for own in values.values()]
        if any(cell != NONE for cell in cells):
            table.add_row(label, *cells, _share(summary, name))
    return table


def notes(summary: Summary) -> list[str]:
    """Explains the marks of a table and says how many requests count, where not all do."""
    found = []
    if summary.differences:
        found.append("± standard error over requests, * where the difference is more than two of them")
        if any(difference.few for difference in summary.differences.values()):
            found.append(f"Where fewer than {FEW} requests count, there are too few for a * or a share of the gap")
        found += _no_gap(summary)
    found += _tied_teacher(summary)
    role = next((role for role in ("distilled", "model") if role in summary.metrics), "")
    few: dict[int, list[str]] = {}
    shown = metric_names(summary)
    for name, count in summary.counted.get(role, {}).items():
        if count < summary.requests and name in summary.metrics[role] and name in shown:
            few.setdefault(count, []).append(name)
    if few:
        listed = "; ".join(f"{', '.join(names)}: {count:,}" for count, names in few.items())
        found.append(f"Of {summary.requests:,} requests, those count in which the order makes a difference: {listed}")
    if undefined := [name for name in _names(summary) if name not in shown]:
        found.append(f"Not defined on these rows, and left out: {', '.join(undefined)}")
    if summary.cached:
        found.append("seconds*: trained before, taken from the cache")
    return found


def _tied_teacher(summary: Summary) -> list[str]:
    """Says why a teacher does not agree with itself: of candidates with equal scores any may be its best."""
    own = [value for name, value in summary.metrics.get("teacher", {}).items() if name.startswith(_TEACHER_RECALL)]
    if not any(value < 1 - _SAME for value in own):
        return []
    return [
        "teacher_recall of the teacher is below 1: it gives candidates of a request equal scores, as it does where the "
        "encodings know none of their items"
    ]


def _no_gap(summary: Summary) -> list[str]:
    """Says why no gap is shown, and what the teacher is worse at than the student alone."""
    if summary.gap_recovered or not summary.teacher_lead:
        return []
    if all(lead.few for lead in summary.teacher_lead.values()):
        return ["No gap: too few requests to tell whether the teacher is better than the control"]
    leads = {name: lead for name, lead in summary.teacher_lead.items() if name.endswith("/auc")}
    worse = [name for name, lead in leads.items() if lead.significant and lead.mean < 0]
    said = "No gap: the teacher is better than the control in no metric by more than two standard errors"
    return [f"{said}, and worse in {', '.join(worse)}: mend the teacher first" if worse else said]


def _empty(title: str, roles: Sequence[str], gap: bool) -> Table:
    table = Table(
        title=title,
        title_justify="left",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        collapse_padding=True,  # names of metrics are long, a terminal is not wide
    )
    table.add_column("metric", overflow="fold")
    for role in roles:
        table.add_column(role, justify="right", no_wrap=True)
    if gap:
        table.add_column("gap re-\ncovered", justify="right", no_wrap=True)
    return table


def _value(summary: Summary, role: str, name: str) -> str:
    return number(summary.metrics[role].get(name, math.nan) if summary.comparable(role, name) else math.nan)


def _share(summary: Summary, name: str) -> str:
    share = summary.gap_recovered.get(name)
    if share is not None:
        return percent(share)
    lead = summary.teacher_lead.get(name)
    return "too few" if lead is not None and lead.few and summary.goal(name).better in ("up", "down") else ""


def _add_cost(table: Table, summary: Summary, roles: Sequence[str]) -> None:
    table.add_section()
    for label, name, scale, digits in COST_ROWS:
        values = [summary.cost.get(role, {}).get(name, math.nan) for role in roles]
        if all(map(math.isnan, values)):
            continue
        table.add_row(label, *("–" if math.isnan(value) else f"{value * scale:,.{digits}f}" for value in values))


def labelled(names: Sequence[str]) -> list[tuple[str, str]]:
    """Returns the metrics to print with their labels; of the bands of popularity the tail alone, below its metric."""
    bands = tuple(f"_{band}" for band in BANDS)
    found: list[tuple[str, str]] = []
    for name in (n for n in names if not n.endswith(bands)):
        found.append((name, name))
        if (tail := f"{name}_{BANDS[-1]}") in names:
            found.append((tail, "  of tail items"))
    return found


def metric_names(summary: Summary) -> Sequence[str]:
    """Returns the names of the metrics that some model has a value of, in the order in which they were computed."""
    parts = [*summary.metrics.values(), *summary.on_scored.values()]
    return [name for name in _names(summary) if any(not math.isnan(values.get(name, math.nan)) for values in parts)]


def _names(summary: Summary) -> Sequence[str]:
    names: dict[str, None] = {}
    for values in summary.metrics.values():
        names |= dict.fromkeys(values)
    return list(names)


def _difference(summary: Summary, name: str) -> str:
    found = summary.differences.get(name)
    if found is None:
        values = [summary.metrics[role].get(name, math.nan) for role in ("distilled", "control")]
        return "" if any(math.isnan(v) for v in values) else f"{number(values[0] - values[1], '+')}        "
    return f"{number(found.mean, '+')}±{number(found.standard_error)}{'*' if found.significant else ' '}"


def _seconds(summary: Summary, role: str) -> str:
    if role not in summary.seconds:
        return "–"
    return f"{summary.seconds[role]:.0f}" + ("*" if role in summary.cached else "")
