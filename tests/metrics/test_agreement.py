from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from scipy.stats import kendalltau

from distill.errors import DataError
from distill.metrics.agreement import OrderAgreement, OverlapWithColumn, OverlapWithTeacher
from distill.metrics.evaluation import Evaluation
from distill.metrics.rows import ScoredRows

Table = Callable[..., ScoredRows]


def _rows(table: Table) -> ScoredRows:
    return replace(
        table([4, 2], num_tasks=1),
        score=torch.tensor([4.0, 3.0, 2.0, 1.0, 1.0, 2.0]),
        teacher_score=torch.tensor([1.0, 4.0, 2.0, 3.0, 1.0, 2.0]),
        columns={"utility": torch.tensor([4.0, 1.0, float("nan"), 2.0, 0.0, 1.0])},
    )


def test_overlap_with_the_teacher_by_hand(table: Table) -> None:
    found = OverlapWithTeacher(ks=[1, 2, 4], m=2)(Evaluation(_rows(table), ["click"]))
    # request 0: teacher's top-2 is {1, 3}; the student's order is 0, 1, 2, 3. Request 1 has two candidates, both wanted
    assert found["teacher_recall@1_2"] == 0
    assert found["teacher_recall@1_2_skipped"] == 1.0
    assert found["teacher_recall@2_2"] == 0.5
    assert found["teacher_recall@2_2_skipped"] == 1.0
    assert math.isnan(found["teacher_recall@4_2"])
    assert found["teacher_recall@4_2_skipped"] == 2.0


def test_rows_the_teacher_did_not_score_are_left_out_and_counted(table: Table) -> None:
    rows = _rows(table)
    valid = torch.tensor([True, False, True, True, False, False])
    rows = replace(rows, teacher_valid=valid)
    metric = OverlapWithTeacher(ks=[1], m=1)
    result = metric.per_request(Evaluation(rows, ["click"]))["teacher_recall@1_1"]
    assert result.used.tolist() == [True, False]
    assert float(result.values[0]) == 0.0
    assert "3 of 6 rows" in (metric.missing(Evaluation(rows, ["click"])) or "")


def test_nan_scores_of_the_teacher_are_an_error(table: Table) -> None:
    with pytest.raises(DataError, match="NaN"):
        OverlapWithTeacher(ks=[1], m=1)(
            Evaluation(replace(_rows(table), teacher_score=torch.full((6,), math.nan)), ["click"])
        )


def test_a_teacher_without_a_ranking_score_says_why_nothing_is_reported(table: Table) -> None:
    evaluation = Evaluation(replace(table([4]), teacher_score=None), ["click", "buy"])
    for metric in (OverlapWithTeacher(), OrderAgreement()):
        assert metric(evaluation) == {}
        assert metric.missing(evaluation) == "the teacher scores no task of the ranking score"


def test_without_a_teacher_nothing_is_reported(table: Table) -> None:
    rows = table([4], teacher=False)
    for metric in (OverlapWithTeacher(), OrderAgreement()):
        assert metric(Evaluation(rows, ["click", "buy"])) == {}
        assert metric.missing(Evaluation(rows, ["click", "buy"])) == "no teacher scores came with the rows"
        assert metric.missing(Evaluation(table([4]), ["click", "buy"])) is None


def test_overlap_with_a_column(table: Table) -> None:
    metric = OverlapWithColumn("utility", "best_recall", ks=[2], m=1)
    found = metric(Evaluation(_rows(table), ["click"]))
    assert found == {"best_recall@2_1": 1.0, "best_recall@2_1_skipped": 1.0}
    assert "5 of 6 rows" in (metric.missing(Evaluation(_rows(table), ["click"])) or "")
    other = OverlapWithColumn("price", "cheap_recall")
    assert other(Evaluation(_rows(table), ["click"])) == {}
    assert other.missing(Evaluation(_rows(table), ["click"])) == "no column 'price' (there are: utility)"


def test_order_agreement_by_scipy(table: Table) -> None:
    rows = table([20, 30, 1])
    found = OrderAgreement()(Evaluation(rows, ["click", "buy"]))
    assert rows.teacher_score is not None
    parts = [slice(0, 20), slice(20, 50)]
    expected = [kendalltau(rows.score[part], rows.teacher_score[part]).statistic for part in parts]
    assert found["teacher_kendall_tau"] == pytest.approx(sum(expected) / 2)
    assert found["teacher_kendall_tau_skipped"] == 1.0
    assert 0 < found["teacher_inversion_rate"] < 1
