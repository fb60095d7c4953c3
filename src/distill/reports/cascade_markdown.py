"""A cascade's page: what users get with each student and k, where it is lost, for whom, and what it costs."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence

from distill.reports.cascade import CascadeReport, Group, Point, StageCost
from distill.reports.numbers import number
from distill.reports.page_ways import ways_table
from distill.reports.point import Number

_STAGES = {"prerank": "pre-ranker", "rank": "ranker", "page": "page"}
_COVERAGE = {
    "passed_on": "of what is passed on",
    "requests": "requests scored whole",
    "places_at_stake": "places at stake",
}
_ESTIMATE = {"ips": "IPS", "snips": "SNIPS", "logged": "the log's own", "effective": "effective rows", "rows": "rows",
             "clipped": "clipped"}  # fmt: skip


def cascade_markdown(report: CascadeReport, pictures: Sequence[str]) -> str:
    """Returns the page.

    Args:
        report: What was measured.
        pictures: Names of the pictures beside it.
    """
    return "\n".join([*_lines(report), *(f"\n![{name.removesuffix('.png')}]({name})" for name in pictures), ""])


def _lines(report: CascadeReport) -> Iterator[str]:
    yield f"# Cascade: {report.data}, {'all rows' if report.split == 'all' else f'{report.split} split'}"
    yield ""
    yield from _setting(report)
    yield from _section("What users get", _quality(report))
    if any(point.lost for point in report.points):
        yield from _section(f"Where it is lost: {report.truth} of a place", _losses(report))
    for division in dict.fromkeys(name for point in report.points for name in point.groups):
        yield from _section(f"By {division}", _groups(report, division))
    if any(point.coverage for point in report.points):
        yield from _section("What the log's ranker scored", _mapped(report, _COVERAGE, lambda point: point.coverage))
    if any(point.estimate for point in report.points):
        rows = _mapped(report, _ESTIMATE, lambda point: {n: v.value for n, v in point.estimate.items()}, _errors)
        yield from _section("What the log's users would do: positives per place", rows)
    if report.ways:
        first = report.points[0]
        yield from _section(f"Ways to fill the page, behind {first.student} at k={first.k}", ways_table(report.ways))
    if any(point.cost for point in report.points):
        yield from _section("What a request costs", _costs(report))


def _setting(report: CascadeReport) -> Iterator[str]:
    yield (
        f"{report.requests:,} requests, {report.candidates:,} candidates, of which the ranker scored "
        f"{report.scored:.1%}. The student passes on k, the ranker {report.ranked}, {report.shown} are shown."
    )
    yield f"\nRe-ranking: {report.rerank or 'none'}. Truth: {report.truth}."
    cut = ", ".join(f"{k}: {share:.0%}" for k, share in report.larger.items())
    yield f"\nRequests with more than k candidates: {cut}. In the others k cuts nothing, and all recalls are 1."


def _section(title: str, table: Iterator[Sequence[str]]) -> Iterator[str]:
    head = next(table)
    yield f"\n## {title}\n"
    yield f"| {' | '.join(head)} |"
    yield "|" + "---|" * len(head)
    for row in table:
        yield f"| {' | '.join(row)} |"


def _quality(report: CascadeReport) -> Iterator[Sequence[str]]:
    yield ["student", "k", "shown recall", "ranked recall", f"joint {report.joint}", "ms", "front"]
    for point in report.points:
        recalls = [str(point.recalls[n]) for n in ("shown_recall", "ranked_recall", "joint_recall")]
        ms = number(point.milliseconds)
        yield [point.student, str(point.k), *recalls, ms, "●" if point.front else ""]


def _losses(report: CascadeReport) -> Iterator[Sequence[str]]:
    yield ["student", "k", "best page", *(f"lost by the {name}" for name in _STAGES.values()), "page", "kept"]
    for point in report.points:
        best, value = point.value["best"], point.value["value"]
        lost = [str(point.lost[stage]) for stage in _STAGES]
        kept = f"{value.value / best.value:.1%}" if best.value else "–"
        yield [point.student, str(point.k), number(best.value), *lost, number(value.value), kept]


def _groups(report: CascadeReport, division: str) -> Iterator[Sequence[str]]:
    names = list(dict.fromkeys(name for point in report.points for name in point.groups.get(division, {})))
    yield ["student", "k", *(f"{name}: recall" for name in names), *(f"{name}: shown (wanted)" for name in names)]
    for point in report.points:
        found = point.groups.get(division, {})
        yield [
            point.student,
            str(point.k),
            *(str(found[name].recall) for name in names),
            *(_shown(found[name]) for name in names),
        ]


def _shown(group: Group) -> str:
    return "–" if math.isnan(group.shown) else f"{group.shown:.1%} ({group.wanted:.1%})"


def _mapped(
    report: CascadeReport,
    titles: Mapping[str, str],
    values: Callable[[Point], Mapping[str, float]],
    errors: Callable[[Point], Mapping[str, float]] = lambda point: {},
) -> Iterator[Sequence[str]]:
    yield ["student", "k", *titles.values()]
    for point in report.points:
        found, own = values(point), errors(point)
        cells = [str(Number(found[name], own.get(name, math.nan))) for name in titles]
        yield [point.student, str(point.k), *cells]


def _errors(point: Point) -> Mapping[str, float]:
    return {name: value.error for name, value in point.estimate.items()}


def _costs(report: CascadeReport) -> Iterator[Sequence[str]]:
    names = list(dict.fromkeys(name for point in report.points for name in point.cost))
    yield ["student", "k", *(f"{_STAGES[name]}: candidates, kFLOPs, ms" for name in names)]
    for point in report.points:
        yield [point.student, str(point.k), *(_cost(point.cost[name]) for name in names)]


def _cost(cost: StageCost) -> str:
    flops = "–" if math.isnan(cost.flops) else f"{cost.flops / 1000:,.0f}"
    return f"{cost.candidates:.0f}, {flops}, {number(cost.milliseconds)}"
