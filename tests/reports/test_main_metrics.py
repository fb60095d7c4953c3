"""A comparison shows what there is, for tasks of any name and kind, and never crashes for lack of it."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from rich.console import Console

from distill.reports.compare import Row, compare, save_comparison
from distill.reports.comparison_markdown import comparison_markdown
from distill.reports.comparison_picture import draw_comparison
from distill.reports.comparison_table import comparison_table
from distill.reports.main_metrics import main_metrics
from tests.reports.runs import run_of

BINARY = {"auc": 0.7, "gauc": 0.6, "logloss": 0.4, "pcoc": 1.1, "recall@20": 0.5}
ORDERS = {"teacher_recall@20_10": 0.9, "stage_recall@20_exposed": 0.8, "coverage@20": 0.7, "gini@20": 0.2}


def of(task: str, **values: float) -> dict[str, float]:
    return {f"{task}/{name}": value for name, value in values.items()}


@pytest.mark.parametrize(
    ("metrics", "main_task", "expected"),
    [
        (
            {**of("click", **BINARY), **ORDERS},
            "",
            ["click/auc", "click/recall@20", "stage_recall@20_exposed", "teacher_recall@20_10", "click/pcoc"],
        ),
        (
            {**of("view", **BINARY), **of("buy", **BINARY), **ORDERS},
            "buy",
            ["buy/auc", "buy/recall@20", "stage_recall@20_exposed", "teacher_recall@20_10", "buy/pcoc"],
        ),
        (
            of("relevance", **{"ndcg@1": 0.4, "ndcg@3": 0.5, "ndcg@10": 0.6}),
            "relevance",
            ["relevance/ndcg@1", "relevance/ndcg@3"],
        ),
        (
            {**of("like", auc=math.nan, gauc=math.nan, logloss=0.5), "teacher_recall@20_10": math.nan},
            "like",
            ["like/logloss"],
        ),
        (of("seconds", **{"recall@20": 0.5}), "click", ["seconds/recall@20"]),
        ({"coverage@20": 0.5, "gini@20": 0.1, "click/gauc_skipped": 4.0}, "click", ["coverage@20", "gini@20"]),
        (of("click", auc=math.nan), "click", []),
        ({}, "click", []),
    ],
    ids=["binary", "several tasks", "graded", "one class", "value", "no better", "nothing defined", "no metric"],
)
def test_what_exists_is_shown(metrics: dict[str, float], main_task: str, expected: list[str], tmp_path: Path) -> None:
    rows = compare([run_of(metrics, seed=seed, config=c, main_task=main_task) for c in "ab" for seed in (0, 1)])
    assert main_metrics(rows) == expected
    show(rows, expected, tmp_path)


def show(rows: list[Row], metrics: list[str], folder: Path) -> str:
    console = Console(width=160, record=True)
    console.print(comparison_table(rows, metrics, "runs"))
    assert len(comparison_markdown(rows, metrics).splitlines()) >= 2 + len(rows)
    save_comparison(rows, folder / "comparison.json")
    draw_comparison(rows, metrics, folder / "comparison.png")
    assert (folder / "comparison.png").read_bytes().startswith(b"\x89PNG")
    return console.export_text()


def test_a_metric_that_no_row_has_is_a_dash_in_the_table_and_an_empty_panel(tmp_path: Path) -> None:
    rows = compare([run_of({"click/auc": 0.5}), run_of({}, config="b")])
    assert "–" in show(rows, ["click/auc", "nowhere@3"], tmp_path)


def test_a_teacher_of_other_candidates_is_marked_and_never_drawn_alone(tmp_path: Path) -> None:
    metrics = {"teacher": {"a@4": 0.9, "b@4": 0.9}, "control": {"a@4": 0.5, "b@4": math.nan}, "distilled": {"a@4": 0.7}}
    run = run_of(metrics, on_scored={"control": {"a@4": 0.6, "b@4": 0.1}}, better={"a@4": "up", "b@4": "up"})
    rows = compare([run])
    assert main_metrics(rows) == ["a@4"]
    text = show(rows, ["a@4"], tmp_path)
    assert "0.9000 †" in text
    assert "not comparable" in " ".join(text.split())
    assert "0.7000 †" not in text


@pytest.mark.filterwarnings("error")
def test_a_long_configuration_leaves_room_for_the_panels(tmp_path: Path) -> None:
    long = " ".join(f"data.adapter.option_{i}=/some/where/{'x' * 40}" for i in range(9))
    rows = compare([run_of({"click/auc": 0.5 + i}, config=f"{long} {i}") for i in range(2)])
    show(rows, ["click/auc"], tmp_path)
