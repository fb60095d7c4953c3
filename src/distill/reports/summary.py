"""The result of a run: teacher, control and distilled side by side."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from distill.errors import DataError

SUMMARY_FILE = "summary.json"
ROLES = ("teacher", "control", "distilled")
_LOWER_IS_BETTER = ("logloss", "ece")
_OF_PROBABILITIES = ("logloss", "ece", "pcoc", "precision_p", "recall_p", "f1_p")
_NO_DIRECTION = ("pcoc", "coverage", "gini")


@dataclass(frozen=True)
class Difference:
    """Distilled minus control on the same requests: mean, its standard error, number of requests."""

    mean: float
    standard_error: float
    requests: int


@dataclass(frozen=True)
class Summary:
    """What a run measured.

    Attributes:
        name: Of the run.
        seed: Of the run.
        metrics: Role (teacher, control, distilled; `model` if no loss term uses a teacher) to metric name to value, on
            test.
        gap_recovered: Metric name to (distilled − control) / (teacher − control), where the teacher is better than the
            control; 1 is all of it.
        differences: Metric name to the paired difference of distilled and control over requests.
        parameters: Role to number of weights.
        seconds: Role to seconds of training; of a cached model, when it was trained.
        steps: Role to optimiser steps.
        cached: Roles that were not trained in this run.
        endings: Role to how its training ended (`distill.training.callbacks.Ending`), as plain data.
        config_hash: Of the resolved config, seed and paths left out.
        dataset: Fingerprint of the dataset.
        overrides: What the command line changed.
        cost: Role to what its model costs online, by name (`distill.models.cost.Cost`); empty if it was not measured.
        validation: Metric name (`val/…`) to value of the student, or of the only model, at its best checkpoint.
    """

    name: str
    seed: int
    metrics: dict[str, dict[str, float]]
    gap_recovered: dict[str, float]
    differences: dict[str, Difference]
    parameters: dict[str, int]
    seconds: dict[str, float]
    steps: dict[str, int]
    cached: list[str]
    config_hash: str
    dataset: str
    overrides: list[str] = field(default_factory=list)
    cost: dict[str, dict[str, float]] = field(default_factory=dict)
    validation: dict[str, float] = field(default_factory=dict)
    endings: dict[str, dict[str, Any]] = field(default_factory=dict)

    def save(self, folder: Path) -> None:
        """Writes `summary.json`; a value that is not a number is null."""
        text = json.dumps(_finite(_plain(self)), indent=2, allow_nan=False)
        temporary = folder / f".{SUMMARY_FILE}.tmp"
        temporary.write_text(text + "\n", encoding="utf-8")
        temporary.replace(folder / SUMMARY_FILE)


def load_summary(folder: Path) -> Summary:
    """Reads the summary of a run folder.

    Raises:
        DataError: There is none, or it is damaged.
    """
    path = folder / SUMMARY_FILE
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        data["metrics"] = {role: _numbers(values) for role, values in data["metrics"].items()}
        data["gap_recovered"] = _numbers(data["gap_recovered"])
        data["validation"] = _numbers(data.get("validation", {}))
        data["differences"] = {name: Difference(**_numbers(d)) for name, d in data["differences"].items()}
        return Summary(**data)
    except FileNotFoundError as error:
        raise DataError("The run has no summary: it did not finish.", where=str(path)) from error
    except (ValueError, TypeError, KeyError) as error:
        raise DataError("The summary is damaged.", where=str(path), found=str(error)) from error


def lower_is_better(metric: str) -> bool:
    """Whether a smaller value of the metric is better."""
    return metric.rsplit("/", 1)[-1].startswith(_LOWER_IS_BETTER)


def is_of_probabilities(metric: str) -> bool:
    """Whether the metric compares probabilities with labels, so that an order alone has no value of it."""
    return metric.rsplit("/", 1)[-1].startswith(_OF_PROBABILITIES)


def gap_recovered(metrics: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """Computes (distilled − control) / (teacher − control) of every metric on which the teacher beats the control.

    Args:
        metrics: Role to metric name to value.
    """
    if any(role not in metrics for role in ROLES):
        return {}
    teacher, control, distilled = (metrics[role] for role in ROLES)
    found = {}
    for name in distilled:
        if name not in teacher or name not in control or name.rsplit("/", 1)[-1].startswith(_NO_DIRECTION):
            continue
        gap = teacher[name] - control[name]
        better = -gap if lower_is_better(name) else gap
        if better > 0:
            found[name] = (distilled[name] - control[name]) / gap
    return found


def _plain(value: Any) -> Any:
    if hasattr(value, "__dataclass_fields__"):
        return {name: _plain(getattr(value, name)) for name in value.__dataclass_fields__}
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return value


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, list) else value


def _numbers(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: math.nan if value is None else value for name, value in values.items()}
