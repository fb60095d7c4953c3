"""What is better of a metric is the metric's own to say, and reports ask it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from distill.data.popularity import ItemExposures
from distill.errors import DataError
from distill.metrics import (
    AUC,
    MAP,
    MRR,
    NDCG,
    Calibration,
    Goal,
    GroupedAUC,
    HitRate,
    LetorNDCG,
    LogLoss,
    MetricSuite,
    OrderAgreement,
    OverlapWithColumn,
    OverlapWithTeacher,
    PassedOn,
    PopularityBands,
    Recall,
    StageRecall,
    Threshold,
    give_exposures,
)
from distill.reports.compare import compare
from distill.reports.comparison_marks import best_rows, goal_of
from distill.reports.known_goals import known_goal
from distill.reports.summary import load_summary
from tests.metrics.conftest import make_table
from tests.reports.runs import run_of

SUITE = MetricSuite(
    {
        "auc": AUC(),
        "gauc": GroupedAUC(),
        "request_gauc": GroupedAUC(by="request"),
        "logloss": LogLoss(),
        "calibration": Calibration(),
        "threshold": Threshold(0.05),
        "recall": Recall(ks=[2]),
        "recall_by_score": Recall(ks=[2], by="score"),
        "hit": HitRate(ks=[2]),
        "ndcg": NDCG(ks=[2]),
        "letor_zero": LetorNDCG("zero", ks=[2]),
        "letor_one": LetorNDCG("one", ks=[2], by="score"),
        "letor_skip": LetorNDCG("skip", ks=[2]),
        "mrr": MRR(ks=[2]),
        "map": MAP(ks=[2], by="score"),
        "ndcg_by_score": NDCG(ks=[2], by="score"),
        "teacher": OverlapWithTeacher(ks=[3], m=2),
        "best": OverlapWithColumn("utility", "best_recall", ks=[3], m=2),
        "order": OrderAgreement(),
        "stages": StageRecall(ks=[3]),
        "bands": PopularityBands(ks=(3,), m=2),
        "passed": PassedOn(ks=[3]),
    }
)


def names() -> list[str]:
    import torch

    give_exposures(SUITE.metrics, ItemExposures(torch.arange(50), torch.arange(1, 51)))
    return [n for n in SUITE.compute(make_table([6] * 30), ("click", "buy")) if not n.endswith("_skipped")]


def test_every_result_of_every_metric_has_a_goal_that_older_runs_get_by_its_name() -> None:
    stems = {stem for metric in SUITE.metrics.values() for stem in metric.goals}
    found = names()
    assert {name.rsplit("/", 1)[-1] for name in found} == stems
    goals = {name: SUITE.goal(name) for name in found}
    assert {name: known_goal(name) for name in found} == goals
    down = {"click/logloss", "click/ece", "buy/logloss", "buy/ece", "teacher_inversion_rate"}
    assert {name for name, goal in goals.items() if goal.better == "down"} == down
    assert {n for n, goal in goals.items() if goal == Goal("target", 1.0)} == {"click/pcoc", "buy/pcoc"}
    assert {n for n, goal in goals.items() if goal.better == "none"} == {"coverage@3", "gini@3"}
    assert SUITE.goal("val/teacher/click/logloss").better == "down"
    assert {SUITE.goal(n).better for n in ("click/gauc_skipped", "something")} == {"none"}
    assert {known_goal(n).better for n in ("click/gauc_skipped", "teacher_recall@3_2_skipped", "something")} == {"none"}


def test_a_goal_survives_a_file_and_nonsense_is_refused(tmp_path: Path) -> None:
    for goal in (Goal("up"), Goal("down"), Goal("none"), Goal("target", 1.0)):
        assert Goal.of(goal.plain).plain == goal.plain
    for nonsense in ("left", True, None, float("inf")):
        with pytest.raises(ValueError, match="not a goal"):
            Goal.of(nonsense)
    run_of({"a": 1.0}, better={"a": "left"}).save(tmp_path)
    with pytest.raises(DataError, match="damaged"):
        load_summary(tmp_path)


def best(metric: str, *values: float, **better: str | float) -> list[float]:
    rows = compare([run_of({metric: value}, config=str(i), better=better) for i, value in enumerate(values)])
    return [row.metrics[metric].mean for row in best_rows(rows, metric)]


def test_the_best_is_what_the_metric_says() -> None:
    assert best("teacher_inversion_rate", 0.3, 0.1, 0.2) == [0.1]
    assert best("teacher_kendall_tau", 0.3, 0.1) == [0.3]
    assert best("click/pcoc", 0.5, 1.2, 3.0) == [1.2]
    assert best("gini@20", 0.3, 0.1) == best("coverage@20", 0.3, 0.1) == []
    assert best("mine", 0.3, 0.1) == []
    assert best("mine", 0.3, 0.1, mine="down") == [0.1]
    assert best("mine", 5.0, 9.0, mine=8.0) == [9.0]
    assert best("click/auc", 0.7, 0.7, 0.6) == [0.7, 0.7]
    assert best("click/auc", 0.7, 0.7) == []
    assert best("click/auc", 0.7) == []


def test_runs_that_do_not_agree_on_what_is_better_have_no_best() -> None:
    runs = [run_of({"mine": 1.0}, better={"mine": "up"}), run_of({"mine": 2.0}, config="b", better={"mine": "down"})]
    assert goal_of(compare(runs), "mine").better == "none"
    assert best_rows(compare(runs), "mine") == []
    both = [runs[0], replace(runs[1], config_hash=runs[0].config_hash, name=runs[0].name, seed=1)]
    (row,) = compare(both)
    assert row.better["mine"].better == "none"
