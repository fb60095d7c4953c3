from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from distill.errors import ConfigError
from distill.metrics import Evaluation, ScoredRows
from distill.metrics.functional import tied_ranks

Table = Callable[..., ScoredRows]
TASKS = ("click", "buy")


def test_what_metrics_share_is_computed_once(table: Table) -> None:
    evaluation = Evaluation(table([4, 3]), TASKS)
    assert evaluation.ranks(1) is evaluation.ranks(1)
    assert evaluation.ranks(None) is not evaluation.ranks(1)
    assert evaluation.observed_rows(0) is evaluation.observed_rows(0)
    assert evaluation.observed_rows(0).by_logit is evaluation.observed_rows(0).by_logit
    assert evaluation.requests[0] is evaluation.requests[0]


def test_ranks_are_those_of_a_logit_or_of_the_score(table: Table) -> None:
    rows = table([4, 3])
    evaluation = Evaluation(rows, TASKS)
    for column, scores in ((0, rows.logits[:, 0]), (1, rows.logits[:, 1]), (None, rows.score)):
        expected = tied_ranks(scores, *evaluation.requests)
        assert torch.equal(evaluation.ranks(column).better, expected.better)
        assert torch.equal(evaluation.ranks(column).tied, expected.tied)


@pytest.mark.parametrize("everything", [True, False])
def test_observed_rows_of_a_task(table: Table, everything: bool) -> None:
    rows = table([5] * 8)
    rows = replace(rows, observed=rows.observed | everything, weight=torch.arange(1.0, 41.0))
    seen = rows.observed[:, 1]
    found = Evaluation(rows, TASKS).observed_rows(1)
    assert torch.equal(found.logits, rows.logits[seen, 1])
    assert torch.equal(found.labels, rows.labels[seen, 1])
    assert found.weight is not None
    assert torch.equal(found.weight, rows.weight[seen])
    assert torch.equal(found.user_id, rows.user_id[seen])
    assert torch.equal(found.request_id, rows.request_id[seen])


def test_weights_of_one_are_no_weights(table: Table) -> None:
    assert Evaluation(table([4]), TASKS).observed_rows(0).weight is None


def test_labels_are_binary_or_not(table: Table) -> None:
    rows = table([20])
    assert Evaluation(rows, TASKS).observed_rows(0).is_binary
    assert not Evaluation(replace(rows, labels=rows.labels + 2), TASKS).observed_rows(0).is_binary


def test_names_must_fit_the_logits(table: Table) -> None:
    with pytest.raises(ConfigError, match="2 task names"):
        Evaluation(table([4]), ["click"])
