"""Puts a page together and writes it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from distill.files import write_text_atomic
from distill.reports.compare import Row
from distill.reports.comparison_marks import notes
from distill.reports.evidence import DataRead, Evidence
from distill.reports.glossary import ENTRIES, entry_of
from distill.reports.main_metrics import shown_metrics
from distill.reports.page import chart as sizes
from distill.reports.page import charts, tables
from distill.reports.page.chart import Chart
from distill.reports.page.models import Model, models_of
from distill.reports.page.tables import Table
from distill.reports.table import COST_ROWS

REPORT_FILE = "report.html"
_TEMPLATE = "report.html.j2"
_MOST_DRAWN = 10
_ALWAYS = ("gap recovered", "distilled − control", "val", "train/loss")
_NO_CURVES = "The runs left no curves.json: they are of an earlier version of distill."


@dataclass(frozen=True)
class Section:
    """A part of the page: charts and tables, or why there are none."""

    title: str
    charts: Sequence[Chart] = ()
    tables: Sequence[Table] = ()
    says: str = ""
    missing: str = ""


@dataclass(frozen=True)
class Source:
    """What a page is made of.

    Attributes:
        title: Of the page.
        rows: Models.
        evidence: Run folder to what the run left beside its numbers.
        commands: That made the runs, each once.
        metrics: To show first; the main ones if None.
        facts: Name to value, for the head of the page.
    """

    title: str
    rows: Sequence[Row]
    evidence: Mapping[str, Evidence]
    commands: Sequence[str]
    metrics: Sequence[str] | None = None
    facts: Mapping[str, str] = field(default_factory=dict)


def write_page(source: Source, path: Path) -> None:
    """Writes `report.html`, whole or not at all."""
    write_text_atomic(path, page_text(source))


def page_text(source: Source) -> str:
    """Returns the page: all values escaped, nothing that a browser would fetch."""
    models = models_of(source.rows, source.evidence)
    metrics = list(source.metrics or shown_metrics(source.rows))
    names = list(dict.fromkeys(name for model in models for name in model.row.metrics))
    sections = _sections(source, models, metrics, names)
    drawn = [chart.title for section in sections for chart in section.charts]
    shown = {entry_of(name) for name in (*names, *drawn, *_ALWAYS, *(label for label, *_ in COST_ROWS))}
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    return environment.get_template(_TEMPLATE).render(
        title=source.title,
        facts=source.facts,
        commands=source.commands,
        sections=sections,
        entries=[entry for entry in ENTRIES if entry in shown],
        anchor=_anchor,
        size=sizes,
    )


def _sections(source: Source, models: Sequence[Model], metrics: Sequence[str], names: Sequence[str]) -> list[Section]:
    task = next((model.row.main_task for model in models if model.row.main_task), "")
    drawn = models[:_MOST_DRAWN]
    left_out = f"The first {_MOST_DRAWN} of {len(models)} models are drawn." if len(models) > _MOST_DRAWN else ""
    no_curves = _NO_CURVES if not source.evidence else ""
    return [
        _result(models, metrics, names, source.rows),
        Section(
            "Recall by k",
            charts.recall_charts(drawn, task),
            says=f"Each point is over the requests of more than k candidates that the order can change. {left_out}",
            missing=no_curves or "No request has more than one candidate, or the run measures no recall.",
        ),
        Section(
            "Calibration",
            charts.calibration_charts(drawn, task),
            says=f"Bins of equal weight; on the dotted line what is predicted is what happens. {left_out}",
            missing=no_curves or "The run measures no calibration, or the main task is not binary.",
        ),
        Section(
            "By popularity of the items",
            charts.band_charts(drawn, task),
            missing="The runs measure nothing by popularity (metrics.metrics.popularity).",
        ),
        Section(
            "By stage of the cascade",
            charts.stage_charts(drawn, task),
            missing="The log tells no stages, or no request has more than k candidates.",
        ),
        Section(
            "Quality against cost",
            charts.cost_charts(models, metrics),
            missing="Costs were not measured (cost.enabled=false).",
        ),
        Section(
            "How they learned",
            charts.learning_charts(drawn),
            says="A line for each seed; a model from the cache with the curve of when it was trained.",
            missing=no_curves or "No validation was made while the models were trained.",
        ),
        _read(models),
        Section("Where the runs are", tables=[tables.places(models)]),
    ]


def _result(models: Sequence[Model], metrics: Sequence[str], names: Sequence[str], rows: Sequence[Row]) -> Section:
    """One run shows all its metrics; of several, the main ones first."""
    one = all(len(model.row.seeds) == 1 for model in models) and len({m.row.configuration for m in models}) == 1
    all_names = [*metrics, *(name for name in names if name not in metrics)]
    whole = tables.by_metric(models, all_names)
    says = " ".join(notes(rows, all_names if one else metrics))
    return Section(
        "Result",
        tables=[whole] if one else [tables.by_model(models, metrics), replace(whole, title="All metrics")],
        says=says,
    )


def _read(models: Sequence[Model]) -> Section:
    found: dict[str, DataRead] = {e.data.fingerprint: e.data for model in models for _, e in model.evidence}
    lines = [
        f"{data.name} in {data.root}: fingerprint of the data {data.fingerprint}, of the encodings {data.encodings}."
        for data in found.values()
    ]
    lines += dict.fromkeys(note for data in found.values() for note in data.notes)
    says = "\n".join(lines)
    missing = "The runs do not say what they read: they are of an earlier version of distill."
    return Section("What was read", tables=[tables.splits(data) for data in found.values()], says=says, missing=missing)


def _anchor(name: str) -> str:
    entry = entry_of(name)
    return "" if entry is None else entry.anchor
