"""Scaling curves at the size of a test."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from distill.errors import DataError
from distill.jobs import scaling_cost
from distill.jobs.scaling_options import ARMS, AXES, REFERENCE, STUDENTS, TEACHERS, arguments, chosen
from tests.jobs.entry import run_script
from tests.jobs.test_mistakes import message_of

SMALL = [
    "data.adapter.requests=300", "data.adapter.warmup=40", "data.adapter.users=40", "data.adapter.items=150",
    "data.adapter.brands=10", "data.adapter.categories=6",
]  # fmt: skip


def test_one_command_from_the_data_to_the_curve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scaling_cost, "_SECONDS", 0.001)
    out = tmp_path / "a"
    run_script("scripts/scaling.py", *SMALL, "--out", str(out), "--arms", "data-1of4")
    found = json.loads((out / "scaling.json").read_text())
    whole, quarter = (found["arms"][name] for name in (REFERENCE, "data-1of4"))
    steps = [quarter["steps"][0][role] for role in ("control", "distilled")]
    assert steps == [round(whole["steps"][0]["distilled"] / 4)] * 2
    assert whole["metrics"]["teacher"] == quarter["metrics"]["teacher"]  # it has read everything
    assert whole["metrics"]["control"] != quarter["metrics"]["control"] != quarter["metrics"]["distilled"]
    assert found["costs"]["teacher large"]["candidate_flops"] > found["costs"]["student 128x64"]["candidate_flops"]
    assert len((out / "scaling.md").read_text().split("\n\n")) == 2
    trained = len(list(out.rglob("summary.json")))
    run_script("scripts/scaling.py", *SMALL, "--out", str(out), "--arms", "data-1of4")  # trains and times nothing again
    assert len(list(out.rglob("summary.json"))) == trained == 3
    assert json.loads((out / "scaling.json").read_text()) == found


@pytest.mark.slow
def test_every_student_and_teacher_trains(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "a"
    run_script("scripts/scaling.py", *SMALL, "--out", str(out), "--seeds", "0", "1")
    found = json.loads((out / "scaling.json").read_text())
    assert list(found["arms"]) == list(ARMS)
    assert set(found["costs"]) == {*(f"student {name}" for name in STUDENTS), *(f"teacher {name}" for name in TEACHERS)}
    sizes = [found["costs"][f"student {name}"]["request_flops"] for name in STUDENTS]
    assert sizes == sorted(sizes)
    arms = [found["arms"][f"teacher-{name}"] for name in ("small", "small-basic")]
    leads = [arm["metrics"]["teacher"]["click/auc"][0] for arm in arms]
    assert leads[0] != leads[1]
    assert "To do: 11 arms" in capsys.readouterr().out


@pytest.mark.parametrize("given", [["--seeds", "1", "1"], ["seed=3", "--seeds", "1"]])
def test_seeds_are_named_once(given: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = message_of(capsys, "scripts/scaling.py", *given, "--out", str(tmp_path / "a"))
    assert "--seeds" in said


def test_the_command_line_says_what_the_sizes_are(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        arguments(["--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert all(f"{name}: " in text for name in (*STUDENTS, *TEACHERS))
    with pytest.raises(SystemExit):
        arguments(["--out", "a", "--sed", "1"])


@pytest.mark.parametrize("axis", AXES)
def test_each_curve_has_the_reference_and_others(axis: str) -> None:
    arms = [name for name, arm in ARMS.items() if axis in arm.axes]
    assert len(arms) >= 4
    assert list(chosen(arms[:0:-1])) == [REFERENCE, *arms[:0:-1]]


def test_costs_are_the_least_of_turns_that_turn_around(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []

    def measure(model: str, schema: object, seconds: float) -> SimpleNamespace:
        order.append(model)
        return SimpleNamespace(as_numbers=lambda: {"ms": 20.0 - len(order)})

    monkeypatch.setattr(scaling_cost, "measure_cost", measure)
    monkeypatch.setattr(scaling_cost, "load_model", lambda path: SimpleNamespace(model=path.name, schema=None))
    models = {"a": tmp_path / "x", "b": tmp_path / "y"}
    found = scaling_cost.costs_in_turns(models, tmp_path / "costs.json")
    assert order == ["x", "y", "y", "x", "x", "y", "y", "x", "x", "y"]
    assert found == {"a": {"ms": 11.0}, "b": {"ms": 10.0}}
    assert scaling_cost.costs_in_turns(models, tmp_path / "costs.json") == found
    assert len(order) == 10


def test_damaged_costs_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "costs.json"
    path.write_text("{}")
    with pytest.raises(DataError, match="cannot be read"):
        scaling_cost.costs_in_turns({}, path)
