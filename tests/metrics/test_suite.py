from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from distill.errors import ConfigError
from distill.metrics import (
    AUC,
    NDCG,
    Calibration,
    GroupedAUC,
    LogLoss,
    Metric,
    MetricSuite,
    OrderAgreement,
    OverlapWithColumn,
    OverlapWithTeacher,
    Recall,
    ScoredRows,
    StageRecall,
    Threshold,
    request_ids,
)
from distill.metrics.functional.reduce import PerRequest

Table = Callable[..., ScoredRows]
TASKS = ("click", "buy")


def every_metric() -> dict[str, Metric]:
    return {
        "auc": AUC(),
        "gauc": GroupedAUC(),
        "logloss": LogLoss(),
        "calibration": Calibration(),
        "threshold": Threshold(),
        "recall": Recall(ks=[1, 3]),
        "ndcg": NDCG(ks=[1, 3]),
        "teacher": OverlapWithTeacher(ks=[3], m=2),
        "best": OverlapWithColumn("utility", "best_recall", ks=[3], m=2),
        "order": OrderAgreement(),
        "stages": StageRecall(ks=[3]),
    }


def test_names_of_all_results(table: Table) -> None:
    found = MetricSuite(every_metric(), counts=False).compute(table([5] * 20), TASKS)
    of_task = [
        "auc",
        "gauc",
        "uauc",
        "logloss",
        "pcoc",
        "ece",
        "precision_p0.5",
        "recall_p0.5",
        "f1_p0.5",
        "recall@1",
        "recall@3",
        "ndcg@1",
        "ndcg@3",
        "stage_recall@3",
    ]
    expected = {f"{task}/{name}" for task in TASKS for name in of_task}
    assert found.keys() == expected | {
        "teacher_recall@3_2",
        "best_recall@3_2",
        "teacher_kendall_tau",
        "teacher_inversion_rate",
        "stage_recall@3_ranked",
        "stage_recall@3_exposed",
    }
    assert not any(math.isnan(value) for value in found.values())


def test_counts_are_part_of_the_results_unless_switched_off(table: Table) -> None:
    rows = table([5] * 20)
    found = MetricSuite(every_metric()).compute(rows, TASKS)
    without = MetricSuite(every_metric(), counts=False).compute(rows, TASKS)
    assert found["teacher_recall@3_2_skipped"] == 0.0
    assert {name for name in found if not name.endswith("_skipped")} == without.keys()


def test_a_missing_input_is_named_and_leaves_the_rest(table: Table) -> None:
    suite = MetricSuite(every_metric(), counts=False)
    rows = replace(table([5] * 20, teacher=False), columns={})
    assert suite.missing(rows, TASKS).keys() == {"teacher", "best", "order"}
    assert all(name.startswith((*TASKS, "stage_recall@")) for name in suite.compute(rows, TASKS))
    assert suite.missing(table([5]), TASKS) == {}


@pytest.mark.parametrize("sizes", [[], [1]])
def test_one_row_and_no_rows(table: Table, sizes: list[int]) -> None:
    found = MetricSuite(every_metric(), counts=False).compute(table(sizes), TASKS)
    assert math.isnan(found["click/auc"])
    assert math.isnan(found["teacher_recall@3_2"])


def test_per_request_means_are_the_results(table: Table) -> None:
    rows = table([5, 1, 8, 2])
    suite = MetricSuite(every_metric())
    found, parts = suite.measure(rows, TASKS)
    assert found == pytest.approx(suite.compute(rows, TASKS), nan_ok=True)
    assert parts.keys() == {name for name in found if not name.endswith("_skipped")}
    for name, part in parts.items():
        assert found[name] == pytest.approx(float(part.value), nan_ok=True), name
        if isinstance(part, PerRequest):
            assert part.values.shape == request_ids(rows).shape == (4,)
    assert {name for name, part in parts.items() if isinstance(part, PerRequest)} >= {
        "click/recall@3",
        "teacher_recall@3_2",
    }


def test_tasks_without_logits_are_left_out_but_of_metrics_by_score(table: Table) -> None:
    """The rest is what it is without them, also where a metric names such a task."""
    rows = table([5] * 20)
    suite = MetricSuite({**every_metric(), "by_score": NDCG(ks=[2], by="score"), "named": AUC(tasks=["buy"])})
    unknown = replace(rows, logits=torch.where(torch.tensor([False, True]), torch.nan, rows.logits))
    suite.metrics.pop("auc")
    found = suite.compute(unknown, TASKS, predicted=("click",))
    by_score = ("by_score", "stage_recall")
    everything = suite.compute(rows, TASKS).items()
    assert found == {n: v for n, v in everything if not n.startswith("buy/") or any(part in n for part in by_score)}
    assert "buy/ndcg_by_score@2" in found


def test_pointwise_metrics_need_no_score(table: Table) -> None:
    rows = replace(table([5] * 20), score=torch.full((100,), torch.nan))
    found = MetricSuite(every_metric(), counts=False).pointwise.compute(rows, TASKS)
    assert {name.partition("/")[2] for name in found} == {
        *("auc", "gauc", "uauc", "logloss", "pcoc", "ece", "precision_p0.5", "recall_p0.5", "f1_p0.5")
    }
    assert not any(math.isnan(value) for value in found.values())


def test_two_results_of_one_name_are_refused(table: Table) -> None:
    suite = MetricSuite({"a": Recall(ks=[1, 2]), "b": Recall(ks=[2, 3])})
    with pytest.raises(ConfigError, match="click/recall@2"):
        suite.compute(table([5]), TASKS)


def _with_errors(suite: MetricSuite, rows: ScoredRows) -> tuple[dict[str, float], dict[str, float]]:
    values, sampled = suite.measure(rows, TASKS)
    return values, {name: float(part.standard_error()) for name, part in sampled.items()}


def test_results_do_not_depend_on_threads(table: Table) -> None:
    rows = replace(table([50] * 1501), weight=torch.rand(50 * 1501, generator=torch.Generator().manual_seed(0)))
    suite = MetricSuite(every_metric())
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one, errors = _with_errors(suite, rows)
        torch.set_num_threads(3)
        assert _with_errors(suite, rows) == (one, errors)
    finally:
        torch.set_num_threads(threads)


@pytest.mark.slow
def test_a_million_candidates_take_seconds(table: Table) -> None:
    rows = table([10] * 100_000)
    suite = MetricSuite(every_metric())
    start = time.perf_counter()
    suite.compute(rows, TASKS)
    assert time.perf_counter() - start < 15
