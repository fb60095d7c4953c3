from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from distill.metrics.evaluation import Evaluation
from distill.metrics.positives import MAP, MRR
from distill.metrics.rows import ScoredRows

Table = Callable[..., ScoredRows]


def _rows(table: Table) -> ScoredRows:
    """A request of 4 with an unobserved positive in front, one of positives only, one without."""
    return replace(
        table([4, 1, 2], num_tasks=1),
        logits=torch.tensor([[4.0], [3.0], [2.0], [1.0], [1.0], [2.0], [1.0]]),
        score=torch.tensor([1.0, 2.0, 3.0, 4.0, 1.0, 2.0, 1.0]),
        labels=torch.tensor([[1.0], [0.0], [1.0], [1.0], [1.0], [0.0], [0.0]]),
        observed=torch.tensor([[False], [True], [True], [True], [True], [True], [True]]),
    )


def test_requests_with_positives_and_others_count(table: Table) -> None:
    evaluation = Evaluation(_rows(table), ["click"])
    first, average = MRR(ks=[2, 10])(evaluation), MAP(ks=[3, 10])(evaluation)
    assert first == {
        "click/mrr@2": 0.0,
        "click/mrr@2_skipped": 2.0,
        "click/mrr@10": pytest.approx(1 / 3),
        "click/mrr@10_skipped": 2.0,
    }
    assert average["click/map@3"] == pytest.approx((1 / 3) / 2)
    assert average["click/map@10"] == pytest.approx((1 / 3 + 2 / 4) / 2)
    assert average["click/map@10_skipped"] == 2.0


def test_order_by_score_has_a_name_of_its_own(table: Table) -> None:
    evaluation = Evaluation(_rows(table), ["click"])
    assert MRR(ks=[1], by="score")(evaluation)["click/mrr_by_score@1"] == 1.0
    assert MAP(ks=[2], by="score")(evaluation)["click/map_by_score@2"] == 1.0


def test_values_and_errors_are_those_of_requests(table: Table) -> None:
    result = MAP(ks=[10]).sampled(Evaluation(_rows(table), ["click"]))["click/map@10"]
    assert result.num_used == 1
