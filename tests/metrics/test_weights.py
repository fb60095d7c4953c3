"""What the weight of a row means to each metric: scikit-learn's `sample_weight`, or nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.metrics import f1_score, log_loss, precision_score, recall_score, roc_auc_score

from distill.metrics import ScoredRows
from distill.metrics.agreement import OrderAgreement, OverlapWithColumn, OverlapWithTeacher
from distill.metrics.base import Metric
from distill.metrics.evaluation import Evaluation
from distill.metrics.letor import LetorNDCG
from distill.metrics.long_tail import PassedOn
from distill.metrics.pointwise import AUC, Calibration, GroupedAUC, LogLoss, Threshold
from distill.metrics.positives import MAP, MRR
from distill.metrics.ranking import NDCG, HitRate, Recall
from distill.metrics.rmse import RMSE
from distill.metrics.rows import canonical
from distill.metrics.stage_recall import StageRecall

Table = Callable[..., ScoredRows]
TASKS = ("click", "buy")
POINTWISE: list[Metric] = [
    AUC(),
    GroupedAUC(),
    GroupedAUC(by="request"),
    LogLoss(),
    Calibration(5),
    Threshold(0.4),
    RMSE(tasks=TASKS),
]


def weighted(rows: ScoredRows, seed: int = 5) -> ScoredRows:
    weight = torch.randint(1, 5, (rows.num_rows,), generator=torch.Generator().manual_seed(seed)).float()
    return replace(rows, weight=weight)


def repeated(rows: ScoredRows) -> ScoredRows:
    """Each row as often as it weighs, in requests that are longer for it."""
    again = rows.select(torch.repeat_interleave(torch.arange(rows.num_rows), rows.weight.long()))
    return replace(again, row=torch.arange(again.num_rows), weight=torch.ones(again.num_rows))


def test_weights_are_those_of_scikit_learn(table: Table) -> None:
    rows = weighted(table([10] * 12))
    rows = replace(rows, weight=rows.weight + torch.rand(120, generator=torch.Generator().manual_seed(1)))
    evaluation = Evaluation(rows, TASKS)
    found = AUC()(evaluation) | LogLoss()(evaluation) | Calibration(5)(evaluation) | Threshold(0.4)(evaluation)
    for k, task in enumerate(TASKS):
        seen = rows.observed[:, k]
        labels, logits, weight = (
            one[seen].double().numpy() for one in (rows.labels[:, k], rows.logits[:, k], rows.weight)
        )
        probability = 1 / (1 + np.exp(-logits))
        predicted = probability >= 0.4
        assert found[f"{task}/auc"] == pytest.approx(roc_auc_score(labels, logits, sample_weight=weight))
        assert found[f"{task}/logloss"] == pytest.approx(log_loss(labels, probability, sample_weight=weight))
        assert found[f"{task}/pcoc"] == pytest.approx((weight * probability).sum() / (weight * labels).sum())
        for name, score in (("precision", precision_score), ("recall", recall_score), ("f1", f1_score)):
            assert found[f"{task}/{name}_p0.4"] == pytest.approx(score(labels, predicted, sample_weight=weight))


def test_gauc_counts_users_by_their_weights(table: Table) -> None:
    rows = weighted(table([9] * 8))
    found = GroupedAUC()(Evaluation(rows, TASKS))
    aucs, shares = [], []
    for user in range(4):
        own = rows.observed[:, 0] & (rows.user_id == user)
        labels, weight = rows.labels[own, 0], rows.weight[own]
        aucs.append(roc_auc_score(labels, rows.logits[own, 0], sample_weight=weight))
        shares.append(float(weight.sum()))
    assert found["click/gauc"] == pytest.approx(np.average(aucs, weights=shares))
    assert found["click/uauc"] == pytest.approx(np.mean(aucs))


@pytest.mark.parametrize("metric", POINTWISE)
def test_a_row_of_weight_n_is_the_row_n_times(metric: Metric, table: Table) -> None:
    rows = weighted(table([10, 7, 12, 9]))
    twice = metric(Evaluation(repeated(rows), TASKS))
    assert metric(Evaluation(rows, TASKS)) == pytest.approx(twice, rel=1e-9, nan_ok=True)
    alike = metric(Evaluation(replace(rows, weight=torch.ones(rows.num_rows)), TASKS))
    assert any(value != pytest.approx(alike[name]) for name, value in twice.items())


def test_ece_is_the_gap_of_bins_that_hold_the_same_weight() -> None:
    logits = torch.tensor([-1.0, -0.5, 0.25, 1.0])[:, None]
    labels, weight = torch.tensor([0.0, 1.0, 0.0, 1.0])[:, None], torch.tensor([3.0, 1.0, 1.0, 3.0])
    rows = ScoredRows(
        row=torch.arange(4),
        request_id=torch.zeros(4, dtype=torch.int64),
        user_id=torch.zeros(4, dtype=torch.int64),
        item_id=torch.arange(4),
        logits=logits,
        score=logits[:, 0],
        labels=labels,
        observed=torch.ones(4, 1, dtype=torch.bool),
        stage=torch.full((4,), 3),
        weight=weight,
        columns={},
    )
    p = 1 / (1 + np.exp(-logits[:, 0].double().numpy()))
    low = abs((3 * p[0] + p[1]) / 4 - 1 / 4)  # each bin holds half of the weight, 4
    high = abs((p[2] + 3 * p[3]) / 4 - 3 / 4)
    assert Calibration(2)(Evaluation(rows, ("click",)))["click/ece"] == pytest.approx((low + high) / 2)


OF_ORDER: list[Metric] = [
    NDCG(ks=(5,)),
    Recall(ks=(3,)),
    HitRate(ks=(3,)),
    LetorNDCG("zero", ks=(5,)),
    MRR(ks=(3,)),
    MAP(ks=(3,)),
    StageRecall(ks=(3,)),
    OverlapWithTeacher(ks=(4,), m=2),
    OverlapWithColumn("utility", "best_recall", ks=(4,), m=2),
    OrderAgreement(),
    PassedOn(ks=(3,)),
]


@pytest.mark.parametrize("metric", OF_ORDER)
def test_weights_play_no_part_in_an_order(metric: Metric, table: Table) -> None:
    rows = table([10] * 12)
    assert metric(Evaluation(weighted(rows), TASKS)) == metric(Evaluation(rows, TASKS))


@pytest.mark.parametrize("metric", [*POINTWISE, *OF_ORDER])
def test_a_row_of_weight_0_is_as_if_the_log_did_not_hold_it(metric: Metric, table: Table) -> None:
    rows = weighted(table([10] * 12))
    nothing = torch.arange(rows.num_rows) % 3 == 0
    rows = replace(rows, weight=rows.weight.masked_fill(nothing, 0.0))
    kept = metric(Evaluation(canonical(rows).rows, TASKS))
    assert kept == metric(Evaluation(canonical(rows.select(~nothing)).rows, TASKS))
    assert (canonical(rows).num_padding, canonical(rows).num_weightless) == (40, 40)
