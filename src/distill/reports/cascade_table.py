"""A cascade as a table in the terminal."""

from __future__ import annotations

from rich import box
from rich.console import Console
from rich.table import Table

from distill.reports.cascade import CascadeReport, Point
from distill.reports.numbers import number


def print_cascade(report: CascadeReport, console: Console) -> None:
    """Prints what users get with each student and k, and what it costs."""
    title = f"{report.data}: {report.ranked} pass the ranker, {report.shown} are shown"
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    table.add_column("student", overflow="fold")
    for name in ("k", "shown recall", "ranked recall", report.joint, "value kept", "ms", "front"):
        table.add_column(name, justify="right")
    for point in report.points:
        recalls = [str(point.recalls[name]) for name in ("shown_recall", "ranked_recall", "joint_recall")]
        table.add_row(
            point.student, str(point.k), *recalls, _kept(point), number(point.milliseconds), "*" if point.front else ""
        )
    console.print(table)
    notes = [f"{report.requests:,} requests, {report.candidates:,} candidates; ± standard error over requests."]
    if report.scored < 1:
        notes.append(f"The ranker scored {report.scored:.1%} of the candidates; recalls are on these.")
    if any(point.front for point in report.points):
        notes.append("* on the front: no other is as good for fewer milliseconds.")
    console.print(" ".join(notes), style="dim", soft_wrap=True)


def _kept(point: Point) -> str:
    if not point.value or not point.value["best"].value:
        return "–"
    return f"{point.value['value'].value / point.value['best'].value:.1%}"
