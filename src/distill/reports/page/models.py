"""The models of a page: rows of a comparison with what their runs left beside their numbers, and a colour each."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from distill.metrics.curves import CalibrationCurve, RecallCurve
from distill.metrics.learning import LearningCurve
from distill.reports.compare import Row
from distill.reports.evidence import Evidence
from distill.reports.page.chart import Point, Series

_COLOURS = 8
_OWN = ("teacher", "control")


@dataclass(frozen=True)
class Model:
    """One row.

    Attributes:
        label: What it is called in legends.
        colour: Class of the page's style.
        row: Its numbers.
        evidence: Of those of its runs that left some, with their seeds.
    """

    label: str
    colour: str
    row: Row
    evidence: tuple[tuple[int, Evidence], ...]

    def value(self, metric: str, x: float, says: str = "") -> Point | None:
        """A metric as a point with its deviation over seeds; None where it has no value, or one of other candidates."""
        found = self.row.metrics.get(metric)
        if found is None or not math.isfinite(found.mean) or metric in self.row.elsewhere:
            return None
        return Point(x, found.mean, _or_none(found.deviation), says)

    def recalls(self, name: str) -> Series:
        """A recall by k: the mean over its runs, with the standard error of one or the deviation of several."""
        curves = [e.curves[self.row.role].recall.get(name) for _, e in self.evidence if self.row.role in e.curves]
        return Series(self.label, self.colour, tuple(_mean_curve([curve for curve in curves if curve is not None])))

    def calibration(self, task: str) -> Series:
        """Observed by predicted share in bins of equal weight: the mean over its runs, bin by bin."""
        found = [e.curves[self.row.role].calibration.get(task) for _, e in self.evidence if self.row.role in e.curves]
        return Series(self.label, self.colour, tuple(_mean_bins([curve for curve in found if curve is not None])))

    def learning(self) -> list[LearningCurve]:
        """How each of its runs learned."""
        return [e.learning[self.row.role] for _, e in self.evidence if self.row.role in e.learning]


def models_of(rows: Sequence[Row], evidence: Mapping[str, Evidence]) -> list[Model]:
    """Makes the models of a page.

    Args:
        rows: Of a comparison.
        evidence: Run folder to what the run left.
    """
    alone = len({row.configuration for row in rows}) == 1
    found, ranked = [], 0
    for row in rows:
        colour = row.role if row.role in _OWN else f"c{ranked % _COLOURS}"
        ranked += row.role not in _OWN
        label = row.role if alone else row.configuration if row.role == "model" else f"{row.configuration}, {row.role}"
        own = tuple((run.seed, evidence[run.folder]) for run in row.runs if run.folder in evidence)
        found.append(Model(label, colour, row, own))
    return found


def _mean_curve(curves: Sequence[RecallCurve]) -> list[Point]:
    if not curves:
        return []
    if len(curves) == 1:
        (one,) = curves
        parts = zip(one.k, one.value, one.error, strict=True)
        return [Point(k, value, error) for k, value, error in parts]
    ks = [k for k in curves[0].k if all(k in curve.k for curve in curves)]
    values = {k: [curve.value[curve.k.index(k)] for curve in curves] for k in ks}
    return [Point(k, statistics.fmean(own), statistics.stdev(own)) for k, own in values.items()]


def _mean_bins(curves: Sequence[CalibrationCurve]) -> list[Point]:
    bins = min((len(curve.predicted) for curve in curves), default=0)
    return [
        Point(
            statistics.fmean(curve.predicted[i] for curve in curves),
            statistics.fmean(curve.observed[i] for curve in curves),
        )
        for i in range(bins)
    ]


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else value
