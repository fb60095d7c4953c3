from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from distill.errors import DataError
from distill.reports.compare import Row, Statistic, compare, save_comparison
from distill.reports.comparison_markdown import comparison_markdown
from distill.reports.comparison_picture import draw_comparison
from distill.reports.comparison_table import comparison_table
from distill.reports.main_metrics import main_metrics
from distill.reports.paired import PairedTest, paired_tests
from distill.reports.summary import Difference, Summary, load_summary
from distill.reports.table import print_summary

SUMMARY = Summary(
    name="run",
    seed=0,
    metrics={
        "teacher": {"click/auc": 0.8, "click/logloss": 0.4, "click/pcoc": 1.0, "like/auc": math.nan, "best@1": 0.5},
        "control": {"click/auc": 0.7, "click/logloss": 0.5, "click/pcoc": 0.9, "like/auc": 0.6, "best@1": 0.6},
        "distilled": {"click/auc": 0.75, "click/logloss": 0.42, "click/pcoc": 1.1, "like/auc": 0.6, "best@1": 0.6},
    },
    gap_recovered={"click/auc": 0.5},
    differences={"best@1": Difference(0.01, 0.004, 90)},
    parameters={"teacher": 10, "control": 5, "distilled": 5},
    seconds={"teacher": 1.0, "control": 2.0, "distilled": 3.0},
    steps={"teacher": 1, "control": 1, "distilled": 1},
    cached=["teacher"],
    config_hash="a",
    dataset="d",
    overrides=["+experiment=x", "seed=0", "lr=1"],
    better={"best@1": "up"},
)


def test_summary_survives_a_round_trip_and_is_strict_json(tmp_path: Path) -> None:
    SUMMARY.save(tmp_path)
    text = (tmp_path / "summary.json").read_text()
    json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    found = load_summary(tmp_path)
    assert math.isnan(found.metrics["teacher"].pop("like/auc"))
    expected = {role: dict(values) for role, values in SUMMARY.metrics.items()}
    del expected["teacher"]["like/auc"]
    assert found.metrics == expected
    assert found.differences == SUMMARY.differences
    assert found.folder == str(tmp_path)
    assert str(tmp_path) not in text


def test_validation_of_an_earlier_version_is_that_of_the_student(tmp_path: Path) -> None:
    SUMMARY.save(tmp_path)
    data = json.loads((tmp_path / "summary.json").read_text())
    (tmp_path / "summary.json").write_text(json.dumps({**data, "validation": {"val/click/auc": 0.7}}))
    assert load_summary(tmp_path).validation == {"distilled": {"val/click/auc": 0.7}}


def test_checkpoints_are_found_where_the_run_is_now(tmp_path: Path) -> None:
    places = {"distilled": "checkpoints/best.ckpt", "teacher": "/cache/t.ckpt", "control": "s3://b/c.ckpt"}
    replace(SUMMARY, checkpoints=places).save(tmp_path)
    found = load_summary(tmp_path)
    assert found.checkpoint("distilled") == str(tmp_path / "checkpoints" / "best.ckpt")
    assert [found.checkpoint(role) for role in ("teacher", "control", "model")] == [
        "/cache/t.ckpt",
        "s3://b/c.ckpt",
        "",
    ]


def test_missing_and_damaged_summaries(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="did not finish"):
        load_summary(tmp_path)
    (tmp_path / "summary.json").write_text("{")
    with pytest.raises(DataError, match="damaged"):
        load_summary(tmp_path)


def test_table_fits_a_terminal_and_marks_what_is_significant() -> None:
    console = Console(width=80, record=True, file=None, quiet=False)
    with console.capture() as capture:
        print_summary(SUMMARY, console)
    text = capture.get()
    assert "+0.0100±0.0040*" in text
    assert "50%" in text
    assert "distilled" in text
    assert "…" not in text
    assert "1*" in text
    assert max(map(len, text.splitlines())) <= 80


def test_seeds_of_a_configuration_become_one_row() -> None:
    other = {role: {n: v + 0.02 for n, v in values.items()} for role, values in SUMMARY.metrics.items()}
    seed1 = replace(SUMMARY, seed=1, metrics=other, overrides=["+experiment=x", "seed=1", "lr=1"])
    lr2 = replace(SUMMARY, config_hash="b", overrides=["+experiment=x", "seed=0", "lr=2"])
    rows = compare([SUMMARY, seed1, lr2])
    assert [(r.configuration, r.role, r.seeds) for r in rows] == [
        ("lr=1", "teacher", (0, 1)),
        ("lr=1", "control", (0, 1)),
        ("lr=1", "distilled", (0, 1)),
        ("lr=2", "teacher", (0,)),
        ("lr=2", "control", (0,)),
        ("lr=2", "distilled", (0,)),
    ]
    assert rows[2].metrics["click/auc"].mean == pytest.approx(0.76)
    assert rows[2].metrics["click/auc"].deviation == pytest.approx(0.02 / math.sqrt(2))
    assert comparison_table(rows, main_metrics(rows), "t").row_count == 6
    assert main_metrics(rows) == ["click/auc", "click/pcoc", "best@1"]


def test_statistic_leaves_out_what_is_not_defined() -> None:
    assert Statistic.of([1.0, math.nan, 3.0]) == Statistic(2.0, pytest.approx(math.sqrt(2)), 2)  # type: ignore[arg-type]
    assert str(Statistic.of([math.nan])) == "–"
    assert str(Statistic.of([0.5])) == "0.5000"


def save_tests(folder: Path, rows: list[Row]) -> dict[str, float]:
    save_comparison(rows, folder / "comparison.json")
    found: dict[str, float] = json.loads((folder / "comparison.json").read_text())[2]["difference_from_control"][
        "best@1"
    ]
    return found


def test_seeds_that_share_their_test_requests_do_not_count_as_independent() -> None:
    """0.02 / ((0.004 + 0.003) / 2); p = 2 (1 − Φ(1.96)) is 0.05."""
    seeds = [SUMMARY, replace(SUMMARY, seed=1, differences={"best@1": Difference(0.03, 0.003, 80)})]
    assert paired_tests(seeds)["best@1"].standard_errors == pytest.approx(0.02 / 0.0035)
    assert PairedTest(-1.959964, 1.0, 9).p == pytest.approx(0.05, abs=1e-6)
    assert not PairedTest(-1.959964, 1.0, 9).significant
    assert PairedTest(-2.1, 1.0, 9).significant
    assert not PairedTest(-2.1, 1.0, 9, few=True).significant


def test_seeds_that_share_their_test_requests_are_few_together() -> None:
    """Three seeds of 12 requests: the same 12, or 36."""
    seeds = [replace(SUMMARY, seed=s, differences={"best@1": Difference(0.03, 0.003, 12)}) for s in range(3)]
    assert paired_tests(seeds)["best@1"].few
    enough = [replace(run, dataset=str(run.seed), differences={"best@1": Difference(0.03, 0.003, 10)}) for run in seeds]
    assert not paired_tests(enough)["best@1"].few  # 30 are no longer few
    own = [replace(run, dataset=str(run.seed)) for run in seeds]
    assert not paired_tests(own)["best@1"].few
    assert paired_tests(own)["best@1"].significant
    text = comparison_markdown(compare(seeds), ["best@1"])
    assert "Fewer than 30 requests count" in text
    assert "*" not in text


def test_a_metric_that_no_row_has_is_left_out_and_named(tmp_path: Path) -> None:
    values = {role: {**of, "like/auc": math.nan} for role, of in SUMMARY.metrics.items()}
    rows = compare([replace(SUMMARY, metrics=values)])
    lines = comparison_markdown(rows, ["click/auc", "like/auc"]).splitlines()
    assert "like/auc" not in lines[0]
    assert lines[0].count("|") == lines[1].count("|") == lines[2].count("|")
    assert "Not defined in any row, and left out: like/auc." in lines[-1]
    assert "like/auc" in comparison_markdown(compare([SUMMARY]), ["like/auc"]).splitlines()[0]  # the control has it
    console = Console(width=160, record=True)
    table = comparison_table(rows, ["click/auc", "like/auc"], "runs")
    console.print(table)
    assert "like" not in console.export_text().split("left out")[0]
    draw_comparison(rows, ["like/auc"], tmp_path / "a.png")
    assert (tmp_path / "a.png").stat().st_size > 1000
    flat = replace(SUMMARY, differences={"best@1": Difference(0.0, 0.0, 9)})
    assert paired_tests([flat]) == {}


def test_the_best_and_seeds_without_a_gap_are_marked(tmp_path: Path) -> None:
    worse = {**SUMMARY.metrics, "distilled": {**SUMMARY.metrics["distilled"], "click/auc": 0.74, "click/logloss": 0.4}}
    other = replace(SUMMARY, metrics=worse, config_hash="b", overrides=["lr=2"])
    seed1 = replace(SUMMARY, seed=1, gap_recovered={})
    rows = compare([SUMMARY, seed1, other])
    lines = comparison_markdown(rows, ["click/auc", "click/logloss", "click/pcoc"]).splitlines()
    cells = {(c[1], c[2]): c[4:7] for c in ([x.strip() for x in line.split("|")] for line in lines[2:]) if len(c) > 7}
    first = ["**0.7500 ± 0.0000**, 50% of gap (1 of 2 seeds)", "0.4200 ± 0.0000", "1.1000 ± 0.0000"]
    assert cells["lr=1", "distilled"] == first
    assert cells["lr=2", "distilled"] == ["0.7400, 50% of gap", "**0.4000**", "1.1000"]
    assert lines[-1].startswith("Bold: the best.")
    draw_comparison(rows, ["click/auc", "best@1"], tmp_path / "a.png")
    assert (tmp_path / "a.png").stat().st_size > 1000


def test_difference_from_the_control_counts_all_seeds_and_is_marked(tmp_path: Path) -> None:
    """Two seeds of two datasets: 0.02 / (√(0.004² + 0.003²) / 2) = 8 standard errors."""
    other = replace(SUMMARY, seed=1, differences={"best@1": Difference(0.03, 0.003, 80)}, dataset="e")
    rows = compare([SUMMARY, other])
    assert [(row.role, list(row.tests)) for row in rows] == [
        ("teacher", []),
        ("control", []),
        ("distilled", ["best@1"]),
    ]
    test = rows[2].tests["best@1"]
    assert (test.difference, test.standard_error) == (pytest.approx(0.02), pytest.approx(0.0025))
    assert (test.standard_errors, test.requests) == (pytest.approx(8.0), 170)
    assert comparison_markdown(rows, ["best@1"]).count("*") == 2  # the cell, and what it means
    console = Console(width=160, record=True)
    console.print(comparison_table(rows, ["best@1"], "2 runs"))
    text = console.export_text()
    assert text.count("*") == 2  # the cell, and what it means
    assert save_tests(tmp_path, rows) == pytest.approx(
        {
            "mean": 0.02,
            "deviation": 0.01414,
            "standard_error": 0.0025,
            "standard_errors": 8.0,
            "p": 1.244e-15,
            "requests": 170,
        },
        rel=1e-3,
    )
    small = replace(SUMMARY, differences={"best@1": Difference(0.01, 0.006, 90)})
    assert "*" not in comparison_markdown(compare([small]), ["best@1"])


def test_a_run_of_an_earlier_version_is_compared_by_what_its_metrics_are_known_for(tmp_path: Path) -> None:
    new = {"better", "requests", "counted", "teacher_lead", "on_scored", "scored", "main_task", "data_of_seed"}
    replace(SUMMARY, better={}).save(tmp_path)
    data = json.loads((tmp_path / "summary.json").read_text())
    (tmp_path / "summary.json").write_text(json.dumps({k: v for k, v in data.items() if k not in new}))
    old = load_summary(tmp_path)
    assert old == replace(SUMMARY, better={}, metrics=old.metrics)
    assert [old.goal(name).better for name in ("click/logloss", "click/auc", "best@1")] == ["down", "up", "none"]
    worse = {**SUMMARY.metrics, "distilled": {"click/logloss": 0.9}}
    rows = compare([old, replace(SUMMARY, metrics=worse, config_hash="b", overrides=["lr=2"])])
    assert "**0.4200**" in comparison_markdown(rows, ["click/logloss"])


def test_a_summary_keeps_all_that_a_comparison_needs(tmp_path: Path) -> None:
    full = replace(
        SUMMARY,
        metrics={role: {"click/auc": 0.5} for role in SUMMARY.metrics},
        better={"click/auc": "up", "click/pcoc": 1.0},
        requests=7,
        counted={"distilled": {"best@1": 5}},
        teacher_lead={"click/auc": Difference(0.1, 0.01, 7)},
        on_scored={"control": {"click/auc": 0.4}},
        scored=0.25,
        main_task="click",
        data_of_seed=True,
    )
    full.save(tmp_path)
    assert load_summary(tmp_path) == full
    assert full.goal("click/pcoc").target == 1.0
    assert not full.comparable("teacher", "click/auc")
    assert full.comparable("teacher", "best@1")
    assert full.comparable("control", "click/auc")


def data_of(runs: list[Summary]) -> list[tuple[str, tuple[int, ...]]]:
    return [(row.configuration, row.seeds) for row in compare(runs) if row.role == "distilled"]


@pytest.mark.parametrize("known", [True, None])
def test_seeds_with_worlds_of_their_own_are_one_row(known: bool | None) -> None:
    seeds = [replace(SUMMARY, seed=seed, dataset=f"world{seed}", data_of_seed=known) for seed in range(3)]
    assert data_of(seeds) == [("run", (0, 1, 2))]
    again = replace(seeds[0], dataset="another0")
    assert data_of([*seeds, again]) == [
        ("run (data world0)", (0,)),
        ("run (data world1)", (1,)),
        ("run (data world2)", (2,)),
        ("run (data anothe)", (0,)),
    ]


def test_runs_of_one_configuration_on_two_days_of_logs_are_two_rows() -> None:
    days = [replace(SUMMARY, seed=s, dataset=f"day-{'ab'[s % 2]}", data_of_seed=False) for s in range(4)]
    assert data_of(days) == [("run (data day-a)", (0, 2)), ("run (data day-b)", (1, 3))]


def _fold(fold: int, seed: int = 0, data: str = "", **more: Any) -> Summary:
    return replace(SUMMARY, seed=seed, fold=fold, dataset=data or f"fold{fold}", data_of_seed=False, **more)


def test_folds_of_one_configuration_are_one_row_paired_by_fold() -> None:
    changed = ["data.adapter.split.fold={}", "lr=2"]
    runs = [
        _fold(
            fold,
            metrics={"control": {"best@1": 0.5}, "distilled": {"best@1": 0.6 + fold / 10}},
            differences={"best@1": Difference(0.1 + fold / 10, 0.01, 50)},
            overrides=[change.format(fold) for change in changed],
        )
        for fold in range(3)
    ]
    row = next(row for row in compare(runs) if row.role == "distilled")
    assert (row.folds, row.over, row.configuration) == ((0, 1, 2), "0; folds 0, 1, 2", SUMMARY.name)
    assert (row.metrics["best@1"].mean, row.metrics["best@1"].deviation) == (pytest.approx(0.7), pytest.approx(0.1))
    test = row.tests["best@1"]
    assert (test.difference, test.deviation) == (pytest.approx(0.2), pytest.approx(0.1))
    assert test.standard_error == pytest.approx(0.01 / 3**0.5)  # folds have requests of their own
    text = comparison_markdown([row], ["best@1"])
    assert "0; folds 0, 1, 2" in text
    assert "over seeds and folds" in text
    assert "| 0, fold 2 |" in text


def test_seeds_of_a_fold_share_its_data_and_other_data_are_another_row() -> None:
    both = [_fold(fold, seed) for fold in (0, 1) for seed in (0, 1)]
    assert [row.over for row in compare(both) if row.role == "distilled"] == ["0, 1; folds 0, 1"]
    changed = [*both, _fold(1, 2, "newer")]
    assert len([row for row in compare(changed) if row.role == "distilled"]) == 3


def test_rows_of_other_data_are_not_ranked_together() -> None:
    def one(name: str, data: str, auc: float) -> Summary:
        metrics = {"model": {"click/auc": auc}}
        return replace(SUMMARY, name=name, config_hash=name, dataset=data, metrics=metrics, data_of_seed=False)

    rows = compare([one("a", "x", 0.7), one("b", "x", 0.6), one("c", "y", 0.9)])
    text = comparison_markdown(rows, ["click/auc"])
    assert text.count("**") == 2
    assert "**0.7000**" in text
    assert "Not all rows are of the same data" in text
    assert "Not all rows" not in comparison_markdown(rows[:2], ["click/auc"])
