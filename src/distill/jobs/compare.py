"""One table and one picture of any runs."""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from pathlib import Path

import yaml

from distill.console import report_console
from distill.errors import ConfigError, DataError
from distill.files import write_text_atomic
from distill.jobs.report_page import write_report
from distill.metrics.goal import UP, Goal
from distill.reports.compare import Row, compare, save_comparison
from distill.reports.comparison_markdown import comparison_markdown
from distill.reports.comparison_marks import different_data, goal_of
from distill.reports.comparison_picture import draw_comparison
from distill.reports.comparison_table import comparison_table
from distill.reports.main_metrics import shown_metrics
from distill.reports.page.page import REPORT_FILE
from distill.reports.summary import SUMMARY_FILE, Summary, load_summary, title_of
from distill.schema.plain_yaml import read_yaml

COMPARISON = "comparison"


def run(options: argparse.Namespace) -> list[Row]:
    """Compares all runs that finished and names those that did not.

    Raises:
        DataError: There is no finished run.
        ConfigError: A metric is unknown, or the runs are of different data and `--different-data` is not given.
    """
    console = report_console()
    runs, unfinished = find_runs(options.runs)
    if unfinished:
        console.print(f"Without {SUMMARY_FILE}, left out: {', '.join(map(str, unfinished))}")
    if not runs:
        raise DataError("There is no finished run to compare.", where=", ".join(map(str, options.runs)))
    rows = compare(runs)
    if not options.different_data:
        refuse_different_data(rows)
    known = {name for row in rows for name in row.metrics}
    metrics = options.metrics or [name for name in shown_metrics(rows) if name in known]
    unknown = [name for name in (*metrics, *([options.sort] if options.sort else [])) if name not in known]
    if unknown:
        raise ConfigError(
            "The runs lack a metric.",
            where="--metrics, --sort",
            expected=", ".join(sorted(known)),
            found=", ".join(unknown),
        )
    if options.sort:
        goal = goal_of(rows, options.sort)
        rows = sorted(rows, key=lambda row: _place(row, options.sort, goal if goal.ranks else UP))
    console.print(comparison_table(rows, metrics, title_of(runs), console.width))
    if options.out is not None:
        options.out.mkdir(parents=True, exist_ok=True)
        save_all(runs, rows, metrics, options.out)
        console.print(f"Files: {options.out / COMPARISON}.json, .md, .png, and {REPORT_FILE}", soft_wrap=True)
    else:
        console.print(f"All metrics, curves and costs: --out FOLDER writes {REPORT_FILE}.", soft_wrap=True)
    return rows


def refuse_different_data(rows: Sequence[Row]) -> None:
    """Refuses rows that were tested on different datasets.

    Raises:
        ConfigError: With the rows of each.
    """
    if not different_data(rows):
        return
    groups: dict[tuple[str, ...], list[str]] = {}
    for row in rows:
        data = tuple(sorted(name[:6] for name in row.datasets))
        groups.setdefault(data, []).append(f"{row.configuration} (seed {row.over})")
    found = "; ".join(f"data {' '.join(data)}: {', '.join(dict.fromkeys(of))}" for data, of in groups.items())
    raise ConfigError(
        "The runs use different data, so their results are not comparable.",
        where="runs",
        expected="runs on the same datasets, with the same seeds and folds where each has data of its own",
        found=found,
        remedy="Give runs on the same data, or --different-data for one table with a best for each data.",
    )


def find_runs(places: Sequence[Path]) -> tuple[list[Summary], list[Path]]:
    """Reads the summaries of run folders, in the order of their names (numbers by value), and finds those without.

    Raises:
        DataError: A folder does not exist, or a summary is damaged.
    """
    runs, unfinished = [], []
    for place in places:
        if not place.is_dir():
            raise DataError("There is no such folder.", where=str(place), expected="a run, or a folder with runs")
        below = {path.parent.parent for path in place.rglob(".hydra/config.yaml")}
        for folder in sorted(below, key=lambda path: [(not p.isdigit(), p.zfill(9)) for p in path.parts]):
            if (folder / SUMMARY_FILE).exists():
                runs.append(load_summary(folder))
            elif _trains(folder):
                unfinished.append(folder)
    return runs, unfinished


def _trains(folder: Path) -> bool:
    """Whether the command that made a folder trains: others, such as prepare, have no summary to wait for."""
    try:
        record = read_yaml((folder / ".hydra" / "hydra.yaml").read_text(encoding="utf-8"))
        return str(record["hydra"]["job"]["name"]) == "train"
    except (OSError, ValueError, LookupError, TypeError, yaml.YAMLError):
        return True  # nothing says that it is another's


def save_all(runs: Sequence[Summary], rows: Sequence[Row], metrics: Sequence[str], folder: Path) -> None:
    """Writes `comparison.json` and `report.html` (all metrics), and `comparison.md` and `comparison.png` of some."""
    save_comparison(rows, folder / f"{COMPARISON}.json")
    write_text_atomic(folder / f"{COMPARISON}.md", comparison_markdown(rows, metrics))
    draw_comparison(rows, metrics, folder / f"{COMPARISON}.png")
    write_report(runs, rows, metrics, folder)


def _place(row: Row, metric: str, goal: Goal) -> float:
    value = row.metrics[metric].mean if metric in row.metrics else math.nan
    return math.inf if math.isnan(value) else goal.distance(value)
