"""Curves are the metrics themselves at other cut-offs, and the bins of the calibration error."""

from __future__ import annotations

import pytest
import torch

from distill.batch import Stage
from distill.metrics import Calibration, Evaluation, MetricSuite, OverlapWithTeacher, Recall, ScoredRows, StageRecall
from distill.metrics.curves import curves_of
from distill.metrics.functional.calibration import calibration_bins, expected_calibration_error


def rows(requests: int = 6, size: int = 12) -> ScoredRows:
    draw, count = torch.Generator().manual_seed(0), requests * size
    logits = torch.randn(count, 1, generator=draw)
    return ScoredRows(
        row=torch.arange(count),
        request_id=torch.arange(requests).repeat_interleave(size),
        user_id=torch.arange(requests).repeat_interleave(size),
        item_id=torch.arange(count),
        logits=logits,
        score=logits[:, 0],
        labels=(torch.rand(count, 1, generator=draw) < 0.3).float(),
        observed=torch.ones(count, 1, dtype=torch.bool),
        stage=torch.where(torch.arange(count) % 3 == 0, int(Stage.EXPOSED), int(Stage.RANKED)),
        weight=torch.ones(count),
        columns={},
        teacher_logits=logits + torch.randn(count, 1, generator=draw),
        teacher_score=torch.randn(count, generator=draw),
        teacher_valid=torch.ones(count, dtype=torch.bool),
    )


SUITE = MetricSuite(
    {
        "recall": Recall(ks=[10]),
        "teacher": OverlapWithTeacher(ks=[5], m=3),
        "stage": StageRecall(ks=[5], stages=["exposed"]),
        "calibration": Calibration(num_bins=4),
    }
)


def test_a_curve_has_the_metric_at_every_cutoff_below_the_largest_request() -> None:
    table = rows()
    found = curves_of(SUITE, Evaluation(table, ["click"]))
    assert set(found.recall) == {
        *("click/recall@k", "teacher_recall@k_3", "stage_recall@k_exposed", "click/stage_recall@k"),
    }
    curve = found.recall["teacher_recall@k_3"]
    assert curve.k == [1, 2, 5, 10]
    alone = MetricSuite({"m": OverlapWithTeacher(ks=[1, 2, 5, 10], m=3)}).compute(table, ["click"])
    assert curve.value == pytest.approx([alone[f"teacher_recall@{k}_3"] for k in curve.k])
    assert curve.value == sorted(curve.value)
    assert curve.requests == [6] * 4
    assert SUITE.metrics["recall"].ks == (10,)  # the suite's own are left as they are


def test_requests_of_one_candidate_have_no_curve() -> None:
    found = curves_of(SUITE, Evaluation(rows(5, 1), ["click"]))
    assert found.recall == {}
    assert len(found.calibration) == 1


def test_bins_are_those_of_the_calibration_error() -> None:
    """Four bins of two rows; means and shares by hand."""
    probs = torch.tensor([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.9])
    labels = torch.tensor([0.0, 0.0, 0.0, 1.0, 1.0, 0.0, 1.0, 1.0])
    predicted, observed, weight = calibration_bins(probs, labels, 4)
    assert predicted.tolist() == pytest.approx([0.15, 0.35, 0.55, 0.8])
    assert observed.tolist() == pytest.approx([0.0, 0.5, 0.5, 1.0])
    assert weight.tolist() == [2.0] * 4
    error = float((weight * (predicted - observed).abs()).sum() / weight.sum())
    assert error == pytest.approx(float(expected_calibration_error(probs, labels, 4)))


def test_empty_bins_are_left_out_and_weights_count() -> None:
    probs, labels = torch.full((6,), 0.5), torch.tensor([1.0, 0.0, 0.0, 0.0, 0.0, 0.0])
    predicted, observed, weight = calibration_bins(probs, labels, 4, torch.tensor([3.0, 1, 1, 1, 1, 1]))
    assert (predicted.tolist(), observed.tolist(), weight.tolist()) == ([0.5], [3 / 8], [8.0])
