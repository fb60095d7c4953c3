"""Curves of an evaluation, for a reader's eye: recall at many cut-offs, and predicted against observed shares."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from torch import Tensor

from distill.metrics.base import CutoffMetric
from distill.metrics.evaluation import Evaluation
from distill.metrics.functional.calibration import calibration_bins
from distill.metrics.pointwise import Calibration
from distill.metrics.suite import MetricSuite

_SERIES = (1, 2, 5)
_CUT = re.compile(r"@\d+")


@dataclass(frozen=True)
class RecallCurve:
    """A metric by its cut-off.

    Attributes:
        k: Cut-offs at which some request counts, ascending.
        value: The mean over the requests that count.
        error: Its standard error; None of a single request.
        requests: How many count: at a large k only those of more than k candidates.
    """

    k: list[int]
    value: list[float]
    error: list[float | None]
    requests: list[int]


@dataclass(frozen=True)
class CalibrationCurve:
    """Bins of equal weight in the order of the predicted probability; empty ones are left out.

    Attributes:
        predicted: Mean probability of each.
        observed: Share of positives of each.
        weight: Of their rows.
    """

    predicted: list[float]
    observed: list[float]
    weight: list[float]


@dataclass(frozen=True)
class Curves:
    """What was drawn of one model.

    Attributes:
        recall: Name of a result with `@k` in place of its cut-off to the curve: `click/recall@k`.
        calibration: Task to its curve.
    """

    recall: dict[str, RecallCurve]
    calibration: dict[str, CalibrationCurve]


def curves_of(suite: MetricSuite, evaluation: Evaluation) -> Curves:
    """Computes the curves of the recalls and the calibration that a suite has; orders are those of its metrics.

    Cut-offs are 1, 2, 5, 10, … below the size of the largest request.
    """
    largest = int(evaluation.request_size.max()) if evaluation.rows.num_rows else 0
    recall: dict[str, RecallCurve] = {}
    calibration: dict[str, CalibrationCurve] = {}
    for metric in suite.metrics.values():
        if isinstance(metric, CutoffMetric) and (ks := _cutoffs(largest)):
            recall |= _recall_curves(metric.at(ks), ks, evaluation)
        if isinstance(metric, Calibration):
            calibration |= _calibration_curves(metric, evaluation)
    return Curves(recall, calibration)


def _cutoffs(largest: int) -> list[int]:
    powers = range(len(str(largest)))
    return [k for power in powers for k in (first * 10**power for first in _SERIES) if k < largest]


def _recall_curves(metric: CutoffMetric, ks: list[int], evaluation: Evaluation) -> dict[str, RecallCurve]:
    found = metric.per_request(evaluation)
    points: dict[str, list[tuple[int, float, float, int]]] = {}
    for name, result in found.items():
        if result.num_used:
            (cut,) = _CUT.findall(name)
            point = (int(cut[1:]), float(result.mean()), float(result.standard_error()), result.num_used)
            points.setdefault(_CUT.sub("@k", name), []).append(point)
    return {name: _curve(sorted(own)) for name, own in points.items()}


def _curve(points: list[tuple[int, float, float, int]]) -> RecallCurve:
    k, value, error, requests = (list(column) for column in zip(*points, strict=True))
    return RecallCurve(k, value, [e if math.isfinite(e) else None for e in error], requests)


def _calibration_curves(metric: Calibration, evaluation: Evaluation) -> dict[str, CalibrationCurve]:
    found = {}
    for task, column in evaluation.columns(metric.tasks).items():
        rows = evaluation.observed_rows(column)
        if rows.is_binary and rows.labels.numel():
            probs = rows.logits.double().sigmoid()
            bins = calibration_bins(probs, rows.labels, metric.num_bins, metric.weight(rows), rows.by_logit)
            found[task] = CalibrationCurve(*(_plain(part) for part in bins))
    return found


def _plain(values: Tensor) -> list[float]:
    return [float(value) for value in values]
