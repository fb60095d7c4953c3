"""A cascade's report is strict JSON, a page with its pictures, and marks its front."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from distill.reports.cascade import CascadeReport, Group, Point, StageCost, save_cascade, with_front
from distill.reports.cascade_table import print_cascade
from distill.reports.point import Number

NAN = math.nan


def point(student: str, k: int, recall: float, ms: float) -> Point:
    return Point(
        student,
        k,
        recalls={name: Number(recall, 0.01) for name in ("shown_recall", "ranked_recall", "joint_recall")},
        value={"value": Number(recall), "best": Number(2.0)},
        lost={"prerank": Number(2 - recall), "rank": Number(0.0), "page": Number(0.0)},
        groups={"popularity": {"head": Group(Number(1.0), 0.5, 0.6), "tail": Group(Number(NAN, NAN), 0.5, NAN)}},
        coverage={"passed_on": 0.5, "requests": 0.25, "places_at_stake": 0.75},
        estimate={},
        cost={"prerank": StageCost(80, 1e3, ms / 2), "rank": StageCost(k, 1e6, ms / 2)},
    )


POINTS = with_front([point("a", 10, 0.7, 1.0), point("a", 20, 0.9, 3.0), point("b", 10, 0.6, 2.0)])
REPORT = CascadeReport(
    data="day", split="test", requests=9, candidates=90, ranker="r.ckpt", scored=0.5, ranked=10, shown=5, best=4,
    truth="utility", rerank="", students={"a": "a.ckpt", "b": "b.ckpt"}, points=POINTS, larger={10: 1.0, 20: 0.5},
)  # fmt: skip


def test_the_front_is_by_recall_and_milliseconds() -> None:
    assert [one.front for one in POINTS] == [True, True, False]
    untimed = with_front([replace(one, cost={}) for one in POINTS])
    assert not any(one.front for one in untimed)


def test_the_report_is_strict_json_and_a_page_with_pictures(tmp_path: Path) -> None:
    save_cascade(REPORT, tmp_path)
    text = (tmp_path / "cascade.json").read_text()
    found = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert found["points"][0]["groups"]["popularity"]["tail"]["shown"] is None
    page = (tmp_path / "cascade.md").read_text()
    assert "joint R@4@5" in page
    assert "| a | 10 | 0.7000 ± 0.0100 |" in page
    assert "| b | 10 | 0.5000 | 0.2500 | 0.7500 |" in page
    assert "| a | 20 | 80, 1, 1.5000 | 20, 1,000, 1.5000 |" in page
    for name in ("front", "losses", "groups"):
        assert f"({name}.png)" in page
        assert (tmp_path / f"{name}.png").stat().st_size > 5000


def test_pictures_of_what_is_not_known_are_left_out(tmp_path: Path) -> None:
    bare = [replace(one, value={}, lost={}, groups={}, coverage={}, cost={}) for one in POINTS]
    save_cascade(replace(REPORT, points=bare), tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"cascade.json", "cascade.md", "front.png"}
    page = (tmp_path / "cascade.md").read_text()
    assert "losses.png" not in page
    assert "What a request costs" not in page


def test_the_terminal_shows_the_front() -> None:
    console = Console(file=StringIO(), width=120)
    print_cascade(REPORT, console)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "R@4@5" in text
    assert "The ranker scored 50.0%" in text
    assert text.count("*") == 3  # two points, one note
