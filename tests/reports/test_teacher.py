"""What is said of a logged teacher's scores, and when it is loud."""

from __future__ import annotations

from typing import Any

import pytest

from distill.data.format import TeacherNumbers
from distill.reports.teacher import teacher_lines, teacher_warnings
from tests.batches import make_schema

SCHEMA = make_schema(("click", "like"))
USUAL: dict[str, Any] = {
    "candidates": {"recalled": 600, "exposed": 400},
    "scored": {"recalled": 500, "exposed": 300},
    "low": -3.0,
    "mean": -1.5,
    "high": 2.0,
    "labelled": 300,
    "probability": 0.2,
    "label": 0.15,
}


def numbers(**changes: Any) -> dict[str, TeacherNumbers]:
    return {"click": TeacherNumbers(**{**USUAL, **changes})}


def test_a_line_says_coverage_range_and_calibration() -> None:
    (line,) = teacher_lines(numbers(), SCHEMA, "logit")
    for part in ("task click", "800 of 1,000", "80.0%", "recalled 83.3%", "exposed 75.0%", "min -3, mean -1.5, max 2"):
        assert part in line
    assert "on 300 labelled ones its mean probability is 0.2, the mean label 0.15" in line


def test_a_line_without_stages_scores_or_probabilities() -> None:
    alone = {"candidates": {"exposed": 10}, "scored": {"exposed": 0}, "low": None, "mean": None, "high": None}
    (line,) = teacher_lines(numbers(**alone, probability=None, label=None), SCHEMA, "position")
    assert line == "Teacher, task click: 0 of 10 training candidates scored (0.0%)"


@pytest.mark.parametrize(
    ("kind", "calibrated", "changes", "expected"),
    [
        ("logit", False, {}, []),
        ("logit", False, {"low": 0.0, "high": 1.0}, ["teacher.kind: probability"]),
        ("probability", False, {"low": 0.0, "high": 1.0}, []),
        ("logit", False, {"low": 0.0, "high": 1.01}, []),
        ("logit", False, {"label": 0.05}, ["4 times the positive labels of task click", "teacher.calibration=platt"]),
        ("logit", False, {"label": 0.5}, ["0.4 times"]),
        ("logit", False, {"label": 0.11}, []),
        ("logit", True, {"label": 0.05}, []),
        ("logit", False, {"label": 0.0}, ["infinitely many times"]),
        ("logit", False, {"label": 0.0, "labelled": 20}, []),
        ("position", False, {"probability": None}, []),
        ("logit", False, {"scored": {"recalled": 99, "exposed": 400}}, ["49.9%"]),
        ("logit", False, {"scored": {"recalled": 100, "exposed": 400}}, []),
    ],
)
def test_warnings(kind: str, calibrated: bool, changes: dict[str, Any], expected: list[str]) -> None:
    found = teacher_warnings(numbers(**changes), SCHEMA, kind, calibrated)
    assert len(found) == bool(expected)
    assert all(part in found[0] for part in expected)
