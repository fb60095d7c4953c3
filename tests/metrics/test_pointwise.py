from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.metrics import log_loss, roc_auc_score

from distill.batch import MISSING_KEY
from distill.errors import ConfigError
from distill.metrics.evaluation import Evaluation
from distill.metrics.pointwise import AUC, Calibration, GroupedAUC, LogLoss, Threshold
from distill.metrics.rows import ScoredRows

Table = Callable[..., ScoredRows]
TASKS = ("click", "buy")


def test_each_task_is_measured_on_its_observed_rows(table: Table) -> None:
    rows = table([10] * 10)
    rows = replace(rows, labels=torch.where(rows.observed, rows.labels, 5.0))
    found = (
        AUC()(Evaluation(rows, TASKS)) | LogLoss()(Evaluation(rows, TASKS)) | Calibration(4)(Evaluation(rows, TASKS))
    )
    for k, task in enumerate(TASKS):
        seen = rows.observed[:, k]
        labels, logits = rows.labels[seen, k], rows.logits[seen, k].double()
        assert found[f"{task}/auc"] == pytest.approx(roc_auc_score(labels, logits))
        assert found[f"{task}/logloss"] == pytest.approx(log_loss(labels, logits.sigmoid()))
        assert found[f"{task}/pcoc"] == pytest.approx(float(logits.sigmoid().sum() / labels.sum()))
        assert 0 < found[f"{task}/ece"] < 1
    assert len(found) == 8


def test_weights_count_unless_switched_off(table: Table) -> None:
    rows = table([30])
    weighted = replace(rows, weight=torch.arange(1.0, 31.0))
    assert LogLoss()(Evaluation(weighted, TASKS)) != LogLoss()(Evaluation(rows, TASKS))
    assert LogLoss(weighted=False)(Evaluation(weighted, TASKS)) == LogLoss()(Evaluation(rows, TASKS))


def test_gauc_by_user_and_by_request_have_names_of_their_own(table: Table) -> None:
    rows = table([9] * 8)
    by_user = GroupedAUC()(Evaluation(rows, TASKS))
    by_request = GroupedAUC(by="request")(Evaluation(rows, TASKS))
    assert {"click/gauc", "click/uauc", "click/gauc_skipped"} <= by_user.keys()
    assert {"buy/request_gauc", "buy/request_uauc", "buy/request_gauc_skipped"} <= by_request.keys()
    seen = rows.observed[:, 0]
    expected = [
        roc_auc_score(rows.labels[of_user, 0], rows.logits[of_user, 0])
        for of_user in (seen & (rows.user_id == user) for user in range(4))
    ]
    assert by_user["click/uauc"] == pytest.approx(np.mean(expected))
    assert by_user["click/gauc_skipped"] == 0.0


def test_threshold_is_part_of_the_name(table: Table) -> None:
    found = Threshold(0.3)(Evaluation(table([20]), TASKS))
    assert {"click/precision_p0.3", "click/recall_p0.3", "click/f1_p0.3"} <= found.keys()


def test_tasks_that_are_not_binary_are_left_out_and_named(table: Table) -> None:
    rows = table([20])
    graded = rows.labels.clone()
    graded[:, 1] = torch.where(rows.observed[:, 1], 3.0, 0.0)
    rows = replace(rows, labels=graded)
    assert AUC()(Evaluation(rows, TASKS)).keys() == {"click/auc"}
    reason = AUC().missing(Evaluation(rows, TASKS))
    assert reason is not None
    assert "buy" in reason
    assert "click" not in reason
    assert AUC(tasks=["click"]).missing(Evaluation(rows, TASKS)) is None


def test_a_task_without_observed_rows_is_nan(table: Table) -> None:
    rows = table([5])
    rows = replace(rows, observed=torch.zeros_like(rows.observed))
    for metric in (AUC(), LogLoss(), Calibration(), Threshold()):
        assert all(np.isnan(value) for value in metric(Evaluation(rows, TASKS)).values())
    assert GroupedAUC()(Evaluation(rows, TASKS))["click/gauc_skipped"] == 0.0


def test_wrong_configuration_is_refused(table: Table) -> None:
    with pytest.raises(ConfigError, match="does not have"):
        AUC(tasks=["like"])(Evaluation(table([2]), TASKS))
    with pytest.raises(ConfigError, match="do not match the logits"):
        AUC()(Evaluation(table([2]), ["click"]))
    with pytest.raises(ConfigError, match="cannot group by this"):
        GroupedAUC(by="item")  # type: ignore[arg-type]


def test_requests_of_unknown_users_are_groups_of_their_own(table: Table) -> None:
    rows = table([20] * 12)
    rows = replace(rows, user_id=torch.where(rows.request_id % 2 == 0, rows.user_id, MISSING_KEY))
    other = torch.where(rows.user_id == MISSING_KEY, 1000 + rows.request_id, rows.user_id)
    expected = GroupedAUC()(Evaluation(replace(rows, user_id=other), TASKS))
    assert GroupedAUC()(Evaluation(rows, TASKS)) == expected
    everybody = replace(rows, user_id=torch.full_like(rows.user_id, MISSING_KEY))
    by_request = GroupedAUC(by="request")(Evaluation(everybody, TASKS))
    found = GroupedAUC()(Evaluation(everybody, TASKS))
    assert found["click/gauc"] == by_request["click/request_gauc"]
