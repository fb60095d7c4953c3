from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.metrics import log_loss, roc_auc_score

from distill.metrics import AUCAndLogLoss
from distill.metrics.evaluation import Evaluation
from distill.metrics.rows import ScoredRows

Table = Callable[..., ScoredRows]
TASKS = ("click", "buy")
NAME = "click/auc_logloss"


def _value(rows: ScoredRows) -> float:
    return AUCAndLogLoss()(Evaluation(rows, TASKS))[NAME]


def test_it_is_the_mean_of_the_auc_and_of_the_entropy_explained(table: Table) -> None:
    rows = table([30] * 10)
    rows = replace(rows, weight=torch.rand(300, generator=torch.Generator().manual_seed(0)) + 0.5)
    seen = rows.observed[:, 0]
    labels, probs, weight = rows.labels[seen, 0], rows.logits[seen, 0].double().sigmoid(), rows.weight[seen]
    share = np.full(len(labels), np.average(labels, weights=weight))
    explained = 1 - log_loss(labels, probs, sample_weight=weight) / log_loss(labels, share, sample_weight=weight)
    assert _value(rows) == pytest.approx((roc_auc_score(labels, probs, sample_weight=weight) + explained) / 2)


def test_what_knows_the_share_alone_has_a_quarter_and_what_knows_all_has_one(table: Table) -> None:
    rows = table([30] * 10)
    seen = rows.observed[:, 0]
    share = rows.labels[seen, 0].double().mean()
    constant = torch.full_like(rows.logits, float((share / (1 - share)).log()))
    assert _value(replace(rows, logits=constant)) == pytest.approx(0.25)
    assert _value(replace(rows, logits=(rows.labels - 0.5) * 100)) == pytest.approx(1.0)
    one_class = replace(rows, labels=torch.ones_like(rows.labels))
    assert np.isnan(_value(one_class))


def test_its_influences_are_its_derivatives_by_the_weight_of_a_row(table: Table) -> None:
    rows = table([1] * 60)
    rows = replace(rows, observed=torch.ones_like(rows.observed), weight=torch.ones(60, dtype=torch.float64))
    found = AUCAndLogLoss().sampled(Evaluation(rows, TASKS))[NAME]
    assert float(found.value) == pytest.approx(_value(rows))  # type: ignore[union-attr]
    small = 1e-6
    for row in range(0, 60, 7):
        moved = rows.weight.clone()
        moved[row] += small
        slope = (_value(replace(rows, weight=moved)) - _value(rows)) / small
        assert float(found.parts[row]) == pytest.approx(slope, abs=1e-6)  # type: ignore[union-attr]
