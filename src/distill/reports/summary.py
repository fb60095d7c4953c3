"""The result of a run: teacher, control and distilled side by side."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from distill.errors import DataError
from distill.files import write_text_atomic
from distill.metrics.goal import Goal
from distill.reports.known_goals import known_goal

SUMMARY_FILE = "summary.json"
ROLES = ("teacher", "control", "distilled")
SIGNIFICANT = 2.0  # standard errors
FEW = 30  # requests (users): with fewer, a standard error is too uncertain for a test


@dataclass(frozen=True)
class Difference:
    """One model minus another on the same rows.

    Attributes:
        mean: Of means over requests, over the requests that both have a value of.
        standard_error: Of it, paired: over requests, or over users for GAUC.
        requests: Number of paired requests (users).
    """

    mean: float
    standard_error: float
    requests: int

    @property
    def few(self) -> bool:
        """Whether it rests on fewer than `FEW` requests."""
        return self.requests < FEW

    @property
    def significant(self) -> bool:
        """Whether it is more than `SIGNIFICANT` standard errors, of no fewer than `FEW` requests."""
        return not self.few and abs(self.mean) > SIGNIFICANT * self.standard_error


@dataclass(frozen=True)
class Summary:
    """What a run measured.

    Attributes:
        name: Of the run.
        seed: Of the run.
        metrics: Role (teacher, control, distilled; `model` if no loss term uses a teacher) to metric name to value, on
            test: the teacher's on the candidates that it scored, the others' on all.
        gap_recovered: Metric name to (distilled − control) / (teacher − control), 1 being all of it, all three on the
            candidates that the teacher scored; where the teacher is better than the control by more than `SIGNIFICANT`
            standard errors, of no fewer than `FEW` requests.
        differences: Metric name to the paired difference of distilled and control.
        parameters: Role to number of weights.
        seconds: Role to seconds of training; of a cached model, when it was trained.
        steps: Role to optimiser steps.
        cached: Roles that were not trained in this run.
        endings: Role to how its training ended (`distill.training.callbacks.Ending`), as plain data.
        config_hash: Of the resolved config, seed and paths left out.
        dataset: Fingerprint of the dataset.
        overrides: What the command line changed.
        cost: Role to what its model costs online, by name (`distill.models.cost.Cost`); empty if it was not measured.
        validation: Role to metric name (`val/…`) to value at its best checkpoint.
        checkpoints: Role to its best checkpoint: its path in the run folder, or the whole path of one in the cache.
        report: Metrics that were asked for (`metrics.report`); empty for the main ones.
        better: Metric name to what is better: `up`, `down`, `none`, or the best value in the middle.
        requests: Requests of the test split; 0 if not known.
        counted: Role to metric name to the number of requests that count, of means over requests.
        teacher_lead: Metric name to the paired difference of teacher and control, on what the teacher scored.
        on_scored: Role (but the teacher) to metric name to value on the candidates that the teacher scored, of metrics
            that differ from those on all: only these can be compared with the teacher's.
        scored: Share of the test candidates that the teacher scored; None without a teacher.
        main_task: Of the run; empty if not known.
        data_of_seed: Whether the dataset follows from the seed (a synthetic world, a random split), so that the seeds
            of one configuration have datasets of their own; None if not known.
        fold: Of a cross-validation, the one that is test (`split=k_fold`); None of every other run.
        pruned: Validations after which a study gave the trial up, which is not tested then and has no metrics; None of
            every other run.
        folder: Of the run; where it was read from, not what the file says.
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
    validation: dict[str, dict[str, float]] = field(default_factory=dict)
    checkpoints: dict[str, str] = field(default_factory=dict)
    report: list[str] = field(default_factory=list)
    endings: dict[str, dict[str, Any]] = field(default_factory=dict)
    better: dict[str, str | float] = field(default_factory=dict)
    requests: int = 0
    counted: dict[str, dict[str, int]] = field(default_factory=dict)
    teacher_lead: dict[str, Difference] = field(default_factory=dict)
    on_scored: dict[str, dict[str, float]] = field(default_factory=dict)
    scored: float | None = None
    main_task: str = ""
    data_of_seed: bool | None = None
    fold: int | None = None
    pruned: int | None = None
    folder: str = field(default="", compare=False)

    @classmethod
    def of_pruned(cls, name: str, seed: int, validations: int) -> Summary:
        """Returns what is known of a trial that a study gave up."""
        return cls(name, seed, {}, {}, {}, {}, {}, {}, [], "", "", pruned=validations)

    def goal(self, metric: str) -> Goal:
        """What the metric said is better; of summaries that do not tell, what it is known for by its name."""
        return Goal.of(self.better[metric]) if metric in self.better else known_goal(metric)

    @property
    def main_role(self) -> str:
        """The role that the run is about: `distilled`, or `model`."""
        return "model" if "model" in self.metrics else "distilled"

    def checkpoint(self, role: str) -> str:
        """Where the best checkpoint of a role is, below the run folder if it is there; empty if not known."""
        found = self.checkpoints.get(role, "")
        return found if not found or "://" in found else str(Path(self.folder) / found)

    def comparable(self, role: str, metric: str) -> bool:
        """Whether a role's metric is of the same candidates as the students'."""
        return role != "teacher" or not any(metric in values for values in self.on_scored.values())

    def save(self, folder: Path) -> None:
        """Writes `summary.json`; a value that is not a number is null."""
        found = {name: value for name, value in _plain(self).items() if name != "folder"}
        text = json.dumps(_finite(found), indent=2, allow_nan=False)
        write_text_atomic(folder / SUMMARY_FILE, text + "\n")


def title_of(runs: Sequence[Summary]) -> str:
    """Returns what a table or a page of runs is called."""
    if len(runs) == 1:
        return f"{runs[0].name}, seed {runs[0].seed}"
    names = {run.name for run in runs}
    return f"{names.pop()}, {len(runs)} runs" if len(names) == 1 else f"{len(runs)} runs"


def load_summary(folder: Path) -> Summary:
    """Reads the summary of a run folder.

    Raises:
        DataError: There is none, or it is damaged.
    """
    path = folder / SUMMARY_FILE
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        data["metrics"] = {role: _numbers(values) for role, values in data["metrics"].items()}
        data["on_scored"] = {role: _numbers(values) for role, values in data.get("on_scored", {}).items()}
        data["gap_recovered"] = _numbers(data["gap_recovered"])
        data["validation"] = {role: _numbers(of) for role, of in _by_role(data).items()}
        for pairs in ("differences", "teacher_lead"):
            data[pairs] = {name: Difference(**_numbers(d)) for name, d in data.get(pairs, {}).items()}
        for plain in data.get("better", {}).values():
            Goal.of(plain)
        return Summary(**{**data, "folder": str(folder)})
    except FileNotFoundError as error:
        raise DataError("The run has no summary: it did not finish.", where=str(path)) from error
    except (ValueError, TypeError, KeyError) as error:
        raise DataError("The summary is damaged.", where=str(path), found=str(error)) from error


def _by_role(data: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The validation metrics by role; earlier versions wrote those of the student, or of the only model, alone."""
    found: dict[str, Any] = data.get("validation", {})
    if any(isinstance(values, Mapping) for values in found.values()):
        return found
    return {"model" if "model" in data["metrics"] else "distilled": found} if found else {}


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
