"""What is said of a logged teacher's scores, and when it is loud."""

from __future__ import annotations

import re
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
    "low_count": 1,
    "high_count": 1,
    "low_next": -2.9,
    "high_next": 1.9,
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


@pytest.mark.parametrize(
    ("kind", "changes", "expected"),
    [
        ("logit", {"low": -9999.0, "low_count": 30}, "30 of 800 .* task click .3.8%. are -9999, far .* .-2.9 to 1.9."),
        ("logit", {"high": 1e30, "high_count": 1}, r"1 of 800 .* are 1e\+30, far from all others .*write null"),
        ("logit", {"low": -2.9 - 24.1}, "are -27, far from all others"),
        ("logit", {"low": -2.9 - 23.9}, None),
        ("logit", {"low_count": 40}, r"40 of 800 .*\(5.0%\) are -3, the lowest.*write null"),
        ("logit", {"low_count": 39}, None),
        ("logit", {"high_count": 40}, "are 2, the highest"),
        (
            "probability",
            {"low": 1e-7, "high": 0.9, "low_next": 0.01, "high_next": 0.8, "low_count": 99},
            "are 0, the lo",
        ),
        (
            "probability",
            {"low": 0.1, "high": 1 - 1e-7, "low_next": 0.2, "high_next": 0.8, "high_count": 99},
            "are 1, the",
        ),
        ("position", {"low": 1, "high": 10, "low_next": 2, "high_next": 9, "low_count": 80, "high_count": 80}, None),
        (
            "position",
            {"low": 1, "high": 999, "low_next": 2, "high_next": 99, "high_count": 80},
            "are 999, far from all",
        ),
        ("logit", {"low": -1.5, "high": -1.5, "low_next": None, "high_next": None}, "All 800 .* are -1.5: check"),
        ("logit", {"low": -1.0, "high": 5.0, "low_next": 5.0, "high_next": -1.0, "low_count": 10}, None),
    ],
)
def test_placeholders_of_logged_scores_are_warned_of(kind: str, changes: dict[str, Any], expected: str | None) -> None:
    found = numbers(**{**changes, "probability": None})
    warnings = teacher_warnings(found, SCHEMA, kind)
    assert len(warnings) == (expected is not None)
    assert expected is None or re.search(expected, warnings[0])
    assert teacher_warnings(found, SCHEMA, kind, logged=False) == []
