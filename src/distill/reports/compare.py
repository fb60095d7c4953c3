"""Several runs in one table: configurations as rows, mean ± deviation over seeds."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from rich import box
from rich.table import Table
from rich.text import Text

from distill.data.files import write_text_atomic
from distill.metrics.long_tail import BANDS
from distill.reports.paired import PAIRED_NOTE, PairedTest, paired_tests
from distill.reports.summary import ROLES, Summary, lower_is_better

_ROLES = (*ROLES, "model")
# What a column of costs shows: its name, a factor, and digits.
COSTS = {
    "kFLOPs\n/cand.": ("candidate_flops", 1e-3, 2),
    "bytes\n/item": ("item_bytes", 1.0, 0),
    "ms for\n1,000": ("ms_p50@1000", 1.0, 2),
}
_NOT_COMPARED = ("seed=", "+experiment", "resume=", "paths.", "name=", "threads=", "study.", "callbacks.progress_bar=")


@dataclass(frozen=True)
class Statistic:
    """Mean and sample standard deviation of n values; values that are not defined are left out."""

    mean: float
    deviation: float
    n: int

    @staticmethod
    def of(values: Sequence[float]) -> Statistic:
        """Summarises values; NaN if there is none (deviation: if there are fewer than two)."""
        known = [v for v in values if not math.isnan(v)]
        mean = statistics.fmean(known) if known else math.nan
        return Statistic(mean, statistics.stdev(known) if len(known) > 1 else math.nan, len(known))

    def __str__(self) -> str:
        if math.isnan(self.mean):
            return "–"
        return f"{self.mean:.4f}" + ("" if math.isnan(self.deviation) else f" ± {self.deviation:.4f}")


@dataclass(frozen=True)
class Row:
    """One model of one configuration.

    Attributes:
        configuration: What distinguishes it from the others.
        role: teacher | control | distilled | model.
        seeds: Seeds of its runs.
        metrics: Metric name to statistic over the seeds.
        gap_recovered: The same of the share of the gap, for `distilled`.
        cost: Name of a cost to statistic over the seeds; empty if it was not measured.
        tests: Metric name to the paired difference from the control, for `distilled`.
    """

    configuration: str
    role: str
    seeds: tuple[int, ...]
    metrics: dict[str, Statistic]
    gap_recovered: dict[str, Statistic]
    cost: dict[str, Statistic]
    tests: dict[str, PairedTest] = field(default_factory=dict)


def compare(runs: Sequence[Summary]) -> list[Row]:
    """Groups runs that differ in their seed only and summarises each group.

    A teacher or control that several configurations share is listed once, as the first's "and n more".
    """
    common = set.intersection(*(set(changes(run)) for run in runs)) if len(runs) > 1 else set()
    groups: dict[tuple[str, str], list[Summary]] = {}
    for run in runs:
        own = " ".join(change for change in changes(run) if change not in common)
        groups.setdefault((run.config_hash, own or run.name), []).append(run)
    rows: list[Row] = []
    shared: dict[tuple[str, tuple[int, ...], str], list[int]] = {}
    for (_, name), members in groups.items():
        for role in _ROLES:
            row = _row(name, role, members)
            if row is None:
                continue
            if role in ("teacher", "control"):
                identity = (role, row.seeds, json.dumps({k: s.mean for k, s in row.metrics.items()}))
                places = shared.setdefault(identity, [])
                places.append(len(rows))
                if len(places) > 1:
                    continue
            rows.append(row)
    for first, *others in shared.values():
        if others:
            rows[first] = replace(rows[first], configuration=f"{rows[first].configuration} and {len(others)} more")
    return rows


def changes(run: Summary) -> list[str]:
    """Returns what tells a run from others: its name and what the command line changed, seed and folders left out."""
    return [run.name, *(o for o in run.overrides if not o.startswith(_NOT_COMPARED))]


def comparison_table(rows: Sequence[Row], metrics: Sequence[str], title: str) -> Table:
    """Builds the table; the best of each metric among distilled (or plain) models is bold."""
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("configuration", overflow="fold", min_width=20)
    for name in ("model", "seeds"):
        table.add_column(name)
    for name in metrics:
        table.add_column(name.replace("/", "\n").replace("@", "\n@").replace("_recall", "\nrecall"), justify="right")
    costs = [label for label in COSTS if any(row.cost for row in rows)]
    for label in costs:
        table.add_column(label, justify="right")
    table.caption = "\n".join(notes(rows, metrics))
    table.caption_justify = "left"
    best = {name: best_row(rows, name) for name in metrics}
    for row in rows:
        cells = []
        for name in metrics:
            statistic = row.metrics.get(name, Statistic.of([]))
            share = gap_text(row, name)
            text = (
                str(statistic).replace(" ± ", "\n±")
                + star(row, name)
                + (f"\n{share}" if share else "").replace(" (", "\n(")
            )
            cells.append(Text(text, "bold") if row is best[name] else text)
        cells += [_cost(row, *COSTS[label]) for label in costs]
        table.add_row(row.configuration, row.role, ",".join(map(str, row.seeds)), *cells)
    return table


_SPREAD = ("coverage@", "gini@")


def main_metrics(rows: Sequence[Row]) -> list[str]:
    """Chooses the metrics that fit a terminal: AUC and GAUC of the first task and all recalls of a reference order."""
    names = list(dict.fromkeys(name for row in rows for name in row.metrics))
    first = [n for n in names if n.endswith("/auc")][:1] + [n for n in names if n.endswith("/gauc")][:1]
    left_out = ("_skipped", *(f"_{band}" for band in BANDS))
    return first + [n for n in names if "/" not in n and not n.endswith(left_out) and not n.startswith(_SPREAD)]


def save_comparison(rows: Sequence[Row], path: Path) -> None:
    """Writes all rows and metrics as JSON; a value that is not defined is null."""

    def plain(values: Mapping[str, Statistic]) -> dict[str, dict[str, float | int | None]]:
        return {
            name: {"mean": _known(s.mean), "deviation": _known(s.deviation), "n": s.n} for name, s in values.items()
        }

    content = [
        {
            "configuration": row.configuration,
            "role": row.role,
            "seeds": row.seeds,
            "metrics": plain(row.metrics),
            "gap_recovered": plain(row.gap_recovered),
            "cost": plain(row.cost),
            "difference_from_control": {name: _test(test) for name, test in row.tests.items()},
        }
        for row in rows
    ]
    write_text_atomic(path, json.dumps(content, indent=2, allow_nan=False) + "\n")


def _row(name: str, role: str, members: Sequence[Summary]) -> Row | None:
    runs = [run for run in members if role in run.metrics]
    if not runs:
        return None
    names = dict.fromkeys(metric for run in runs for metric in run.metrics[role])
    metrics = {m: Statistic.of([run.metrics[role].get(m, math.nan) for run in runs]) for m in names}
    shares: dict[str, Statistic] = {}
    if role == "distilled":
        recovered = dict.fromkeys(metric for run in runs for metric in run.gap_recovered)
        shares = {m: Statistic.of([run.gap_recovered.get(m, math.nan) for run in runs]) for m in recovered}
    kinds = dict.fromkeys(kind for run in runs for kind in run.cost.get(role, {}))
    cost = {kind: Statistic.of([run.cost.get(role, {}).get(kind, math.nan) for run in runs]) for kind in kinds}
    seeds = tuple(run.seed for run in runs)
    return Row(name, role, seeds, metrics, shares, cost, paired_tests(runs) if role == "distilled" else {})


def _test(test: PairedTest) -> dict[str, float | int]:
    return {
        "mean": test.difference,
        "standard_error": test.standard_error,
        "standard_errors": test.standard_errors,
        "p": test.p,
        "requests": test.requests,
    }


def _cost(row: Row, name: str, scale: float, digits: int) -> str:
    return f"{scale * row.cost[name].mean:,.{digits}f}" if name in row.cost else "–"


def star(row: Row, metric: str) -> str:
    """Marks a significant difference from the control."""
    return " *" if metric in row.tests and row.tests[metric].significant else ""


def gap_text(row: Row, metric: str) -> str:
    """Writes the share of the gap: mean ± deviation, and of how many seeds, where not all had a gap; empty if none."""
    share = row.gap_recovered.get(metric)
    if share is None or not share.n:
        return ""
    deviation = "" if math.isnan(share.deviation) else f" ±{share.deviation:.0%}"
    seeds = "" if share.n == len(row.seeds) else f" ({share.n} of {len(row.seeds)} seeds)"
    return f"{share.mean:.0%}{deviation} of gap{seeds}"


def notes(rows: Sequence[Row], metrics: Sequence[str]) -> list[str]:
    """Explains the marks that a table of these rows has."""
    found = ["Bold: the best."] if any(best_row(rows, name) for name in metrics) else []
    if any(len(row.seeds) > 1 for row in rows):
        found.append("± sample deviation over seeds.")
    return found + [PAIRED_NOTE + "."] * any(star(row, name) for row in rows for name in metrics)


def best_row(rows: Sequence[Row], metric: str) -> Row | None:
    """Finds the best of distilled and plain models; None if there are no two of them, or no better and worse."""
    candidates = [r for r in rows if r.role in ("distilled", "model") and not math.isnan(_mean(r, metric))]
    if len(candidates) < 2 or metric.endswith("pcoc"):
        return None
    return (min if lower_is_better(metric) else max)(candidates, key=lambda row: _mean(row, metric))


def _mean(row: Row, metric: str) -> float:
    return row.metrics.get(metric, Statistic.of([])).mean


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value
