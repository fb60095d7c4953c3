"""A scaling study is strict JSON, tables from the smallest up, and a picture with a column for each curve."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from distill.reports.scaling import METRICS, Scaling, ScalingArm, save_scaling, scaling_markdown
from distill.reports.summary import Difference, Summary

COST = {"parameters": 10, "request_flops": 2e6, "candidate_flops": 3000, "item_bytes": 96, "ms_p50@1000": 0.5}


def summary(control: float, distilled: float, teacher: float = 0.9, gap: bool = True) -> Summary:
    roles = {"teacher": teacher, "control": control, "distilled": distilled}
    return Summary(
        name="arm", seed=0, metrics={role: dict.fromkeys(METRICS, value) for role, value in roles.items()},
        gap_recovered=dict.fromkeys(METRICS, (distilled - control) / (teacher - control)) if gap else {},
        differences=dict.fromkeys(METRICS, Difference(distilled - control, 0.01, 9)),
        parameters={}, seconds={"distilled": 2.0}, steps={"distilled": 3}, cached=[], config_hash="", dataset="",
    )  # fmt: skip


def arm(axes: tuple[str, ...], student: str, share: float, *found: Summary) -> ScalingArm:
    return ScalingArm(axes, student, "large", share, found)


STUDY = Scaling(
    seeds=(0,),
    candidates=6400,
    arms={
        "reference": arm(("students", "data", "teachers"), "b", 1.0, summary(0.5, 0.7)),
        "student-a": arm(("students",), "a", 1.0, summary(0.4, 0.5, gap=False)),
        "data-1of64": arm(("data",), "b", 1 / 64, summary(0.3, 0.6)),
    },
    costs={"student a": COST, "student b": {**COST, "parameters": 2000}, "teacher large": {**COST, "item_bytes": 0}},
)


def test_tables_go_from_the_smallest_up() -> None:
    students, data, costs = scaling_markdown(STUDY).split("\n\n")
    assert [line.split(" | ")[0] for line in students.splitlines()[2:]] == ["| a", "| b"]
    assert [line.split(" | ")[0] for line in data.splitlines()[2:]] == ["| 100", "| 6,400"]
    row = students.splitlines()[3].strip("| ").split(" | ")
    assert row[1:6] == ["0.9000", "0.5000", "0.7000", "0.2000 ± 0.0100", "50%"]
    assert students.splitlines()[2].strip("| ").split(" | ")[5] == "–"  # the teacher has no lead
    assert "| student a | 10 | 5.00 | 96 | 0.50 |" in costs


def test_several_worlds_have_a_deviation() -> None:
    one = arm(("data",), "a", 1.0, summary(0.5, 0.7), summary(0.5, 0.8))
    assert one.metric("distilled", "click/auc").value == pytest.approx(0.75)
    assert one.gain("click/auc").error == pytest.approx(math.sqrt(0.005))
    assert one.gap("click/auc").value == pytest.approx(0.625)
    without = arm(("data",), "a", 1.0, summary(0.5, 0.7), summary(0.5, 0.8, gap=False))
    assert math.isnan(without.gap("click/auc").value)


def test_what_is_saved_is_strict_json_and_a_picture(tmp_path: Path) -> None:
    save_scaling(STUDY, tmp_path)
    text = (tmp_path / "scaling.json").read_text()
    found = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert found["arms"]["data-1of64"]["candidates"] == 100
    assert found["arms"]["student-a"]["gap_recovered"]["click/auc"] == [None, None]
    assert found["arms"]["reference"]["gain"]["click/auc"] == [pytest.approx(0.2), 0.01]
    assert (tmp_path / "scaling.md").read_text() == scaling_markdown(STUDY)
    assert (tmp_path / "scaling.png").stat().st_size > 20_000
