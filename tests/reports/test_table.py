from __future__ import annotations

import math
import re

import pytest
from rich.console import Console

from distill.reports.compare import Statistic, compare
from distill.reports.comparison_table import comparison_table
from distill.reports.numbers import number, percent
from distill.reports.summary import Difference, Summary
from distill.reports.table import print_summary
from tests.reports.runs import run_of


def printed(summary: Summary, width: int = 80) -> str:
    console = Console(width=width, record=True)
    print_summary(summary, console)
    return console.export_text()


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0.5, "0.5000"),
        (-0.00001, "-0.0000"),
        (7e27, "7.0e+27"),
        (9999.0, "9999.0000"),
        (math.inf, "inf"),
        (math.nan, "–"),
    ],
)
def test_numbers_fit_a_column(value: float, expected: str) -> None:
    assert number(value) == expected
    assert number(abs(value), "+") == ("–" if math.isnan(value) else f"+{expected.lstrip('-')}")


def test_shares_fit_a_column() -> None:
    assert [percent(s) for s in (0.8, -0.5, 9.9, 159.96, -159.96)] == ["80%", "-50%", "990%", ">999%", "<−999%"]
    assert str(Statistic.of([7e27, 8e27])) == "7.5e+27 ± 7.1e+26"


def test_a_diverged_loss_does_not_wreck_the_table() -> None:
    metrics = {role: {"click/auc": 0.7, "click/logloss": 7.123456e27} for role in ("teacher", "control", "distilled")}
    differences = {"click/logloss": Difference(-6.123456e27, 1.23456e27, 40)}
    run = run_of(metrics, differences=differences, gap_recovered={"click/logloss": -159.96})
    text = printed(run)
    assert "7.1e+27" in text
    assert "-6.1e+27±1.2e+27*" in text
    assert "<−999%" in text
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= 80
    console = Console(width=100, record=True)
    console.print(comparison_table(compare([run]), ["click/auc", "click/logloss"], "runs"))
    assert max(len(line.rstrip()) for line in console.export_text().splitlines()) < 90


def test_a_teacher_that_ties_says_so() -> None:
    metrics = {role: {"teacher_recall@20_10": value} for role, value in (("teacher", 0.74), ("distilled", 0.7))}
    said = "gives candidates of a request equal scores"
    assert said in " ".join(printed(run_of(metrics)).split())
    metrics["teacher"]["teacher_recall@20_10"] = 1 - 1e-9
    assert said not in " ".join(printed(run_of(metrics)).split())


def test_a_metric_without_a_value_is_named_once() -> None:
    run = run_of(
        {"click/auc": 0.7, "click/recall@20": math.nan}, requests=40, counted={"model": {"click/recall@20": 0}}
    )
    assert printed(run).count("click/recall@20") == 1


def test_a_partial_teacher_has_a_table_of_its_own() -> None:
    metrics = {
        "teacher": {"click/auc": 0.8, "click/recall@20": 0.91},
        "control": {"click/auc": 0.6, "click/recall@20": 0.52},
        "distilled": {"click/auc": 0.7, "click/recall@20": 0.63},
    }
    run = run_of(
        metrics,
        on_scored={"control": {"click/recall@20": 0.71}, "distilled": {"click/recall@20": 0.81}},
        scored=0.13,
        gap_recovered={"click/auc": 0.5, "click/recall@20": 0.25},
    )
    main, own = printed(run).split("On the 13% of the candidates that the teacher scored")
    row = next(line.split() for line in main.splitlines() if "recall@20" in line)
    assert row[:4] == ["click/recall@20", "–", "0.5200", "0.6300"]
    assert "25%" not in main
    row = next(line.split() for line in own.splitlines() if "recall@20" in line)
    assert row == ["click/recall@20", "0.9100", "0.7100", "0.8100", "25%"]
    assert next(line.split() for line in main.splitlines() if "click/auc" in line)[1:5] == [
        "0.8000",
        "0.6000",
        "0.7000",
        "50%",
    ]
    assert "click/auc" not in own


def test_how_many_requests_count_is_said_where_not_all_do() -> None:
    values = {"click/recall@20": 0.5, "click/ndcg@10": 0.4, "teacher_recall@20_10": 0.9}
    run = run_of(
        values, requests=2000, counted={"model": {**dict.fromkeys(values, 1488), "teacher_recall@20_10": 2000}}
    )
    text = " ".join(printed(run).split())
    assert "Of 2,000 requests" in text
    assert "click/recall@20, click/ndcg@10: 1,488" in text
    assert "teacher_recall@20_10:" not in text
    console = Console(width=160, record=True)
    console.print(comparison_table(compare([run]), ["click/recall@20", "teacher_recall@20_10"], "runs"))
    assert "1,488 of 2,000 for click/recall@20" in " ".join(console.export_text().split())


def test_a_metric_and_a_cost_that_no_model_has_are_left_out() -> None:
    values = {"click/auc": 0.7, "like/auc": math.nan}
    run = run_of({"model": values}, cost={"model": {"item_bytes": 64.0}})
    lines = printed(run).splitlines()
    assert not [line for line in lines if line.startswith("like/auc") or "–" in line]
    assert "Not defined on these rows, and left out: like/auc." in " ".join(lines)
    assert [line.split() for line in lines if line.startswith("bytes/item")] == [["bytes/item", "64"]]
    assert not [line for line in lines if line.startswith("ms for")]
    some = printed(run_of({"control": values, "distilled": {**values, "like/auc": 0.6}}))
    assert [line.split()[1] for line in some.splitlines() if line.startswith("like/auc")] == ["–"]


def test_few_requests_make_neither_a_star_nor_a_share() -> None:
    metrics = {role: {"click/auc": 0.7, "buy/auc": 0.7} for role in ("teacher", "control", "distilled")}
    differences = {"click/auc": Difference(0.1, 0.01, 30), "buy/auc": Difference(0.1, 0.01, 29)}
    run = run_of(
        metrics, differences=differences, teacher_lead=differences, gap_recovered={"click/auc": 0.5}, requests=30
    )
    text = printed(run)
    rows = {line.split()[0]: line.split()[4:] for line in text.splitlines() if "/auc" in line}
    assert rows["click/auc"] == ["50%", "+0.1000±0.0100*"]
    assert rows["buy/auc"] == ["too", "few", "+0.1000±0.0100"]
    assert "Where fewer than 30 requests count, there are too few" in " ".join(text.split())
    few = dict.fromkeys(("click/auc", "buy/auc"), Difference(0.1, 0.01, 9))
    none = printed(run_of(metrics, differences=few, teacher_lead=few, requests=9))
    assert "*" not in none.replace("for a *", "").replace(", * where", "")
    assert "No gap: too few requests to tell" in " ".join(none.split())


@pytest.mark.parametrize(("width", "shown"), [(60, 1), (80, 2), (120, 5), (None, 8)])
def test_a_narrow_terminal_leaves_out_the_last_columns_and_names_them(width: int | None, shown: int) -> None:
    metrics = ["click/auc", "click/recall@20", "stage_recall@20_exposed", "teacher_recall@20_10", "best_recall@20_10"]
    roles = ("teacher", "control", "distilled")
    run = run_of(
        {role: dict.fromkeys(metrics, 0.61592) for role in roles},
        cost={role: {"candidate_flops": 405660.0} for role in roles},
        gap_recovered=dict.fromkeys(metrics, 0.89),
    )
    console = Console(width=width or 200, record=True)
    table = comparison_table(compare([run]), metrics, "1 run", width)
    console.print(table)
    text = console.export_text()
    assert "…" not in text
    assert max(len(line.rstrip()) for line in text.splitlines()) <= (width or 200)
    heads = [re.sub(r"\W|_", "", str(column.header)) for column in table.columns[3:]]
    names = [*metrics, "kFLOPs/cand.", "bytes/item", "ms for 1,000"]
    assert heads == [re.sub(r"\W|_", "", name) for name in names[: len(heads)]]
    assert len(heads) >= shown
    assert all(name in " ".join(text.split()) for name in names[len(heads) :])
    assert text.count("0.6159") == 3 * min(len(heads), len(metrics))


def test_a_difference_is_shown_where_no_gap_is() -> None:
    metrics = {role: {"click/auc": 0.7} for role in ("teacher", "control", "distilled")}
    assert "+0.0010±0.0010" in printed(run_of(metrics, differences={"click/auc": Difference(0.001, 0.001, 9)}))


@pytest.mark.parametrize(
    ("lead", "gap", "said"),
    [
        (Difference(-0.22, 0.05, 72), {}, ", and worse in click/auc: mend the teacher first."),
        (Difference(-0.08, 0.05, 72), {}, "by more than two standard errors."),
        (Difference(0.22, 0.05, 72), {"click/auc": 0.5}, None),
    ],
)
def test_a_teacher_without_a_lead_is_named(lead: Difference, gap: dict[str, float], said: str | None) -> None:
    metrics = {role: {"click/auc": 0.6} for role in ("teacher", "control", "distilled")}
    leads, differences = {"click/auc": lead}, {"click/auc": Difference(-0.1, 0.04, 72)}
    text = " ".join(printed(run_of(metrics, gap_recovered=gap, teacher_lead=leads, differences=differences)).split())
    assert ("No gap: the teacher is better" in text) is (said is not None)
    assert said is None or said in text
