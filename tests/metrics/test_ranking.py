from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from distill.errors import ConfigError
from distill.metrics.evaluation import Evaluation
from distill.metrics.ranking import NDCG, HitRate, Recall
from distill.metrics.rows import ScoredRows

Table = Callable[..., ScoredRows]


def _rows(table: Table) -> ScoredRows:
    rows = table([3, 2], num_tasks=1)
    return replace(
        rows,
        logits=torch.tensor([[3.0], [2.0], [1.0], [1.0], [2.0]]),
        score=torch.tensor([1.0, 2.0, 3.0, 1.0, 2.0]),
        labels=torch.tensor([[0.0], [1.0], [1.0], [1.0], [0.0]]),
        observed=torch.tensor([[True], [True], [True], [False], [True]]),
    )


def test_all_candidates_are_ranked_and_unobserved_ones_are_not_relevant(table: Table) -> None:
    found = Recall(ks=[1, 2])(Evaluation(_rows(table), ["click"]))
    assert found == {
        "click/recall@1": 0.0,
        "click/recall@1_skipped": 1.0,
        "click/recall@2": 0.5,
        "click/recall@2_skipped": 1.0,
    }


def test_order_by_score_has_a_name_of_its_own(table: Table) -> None:
    found = Recall(ks=[1], by="score")(Evaluation(_rows(table), ["click"]))
    assert found["click/recall_by_score@1"] == 1.0
    assert NDCG(ks=[3], by="score")(Evaluation(_rows(table), ["click"]))["click/ndcg_by_score@3"] == 1.0
    assert HitRate(ks=[1])(Evaluation(_rows(table), ["click"]))["click/hit_rate_by_score@1"] == 0.5


def test_ndcg_by_logit(table: Table) -> None:
    second, third = 1 / torch.tensor([3.0, 4.0]).double().log2()
    found = NDCG(ks=[3])(Evaluation(_rows(table), ["click"]))
    assert found["click/ndcg@3"] == pytest.approx(float((second + third) / (1 + second)))
    assert found["click/ndcg@3_skipped"] == 1.0


def test_row_weights_play_no_part(table: Table) -> None:
    rows = _rows(table)
    heavy = replace(rows, weight=torch.arange(1.0, 6.0))
    assert Recall(ks=[1, 2])(Evaluation(heavy, ["click"])) == Recall(ks=[1, 2])(Evaluation(rows, ["click"]))


def test_labels_that_are_no_grades_are_left_out_and_named(table: Table) -> None:
    rows = _rows(table)
    seconds = replace(rows, labels=rows.labels * 600)
    assert NDCG()(Evaluation(seconds, ["watch"])) == {}
    assert "watch" in (NDCG().missing(Evaluation(seconds, ["watch"])) or "")
    assert NDCG().missing(Evaluation(rows, ["watch"])) is None
    assert Recall(ks=[2])(Evaluation(seconds, ["watch"]))["watch/recall@2"] == 0.5


def test_per_request_values_follow_the_requests(table: Table) -> None:
    result = Recall(ks=[2]).per_request(Evaluation(_rows(table), ["click"]))["click/recall@2"]
    assert result.used.tolist() == [True, False]
    assert float(result.values[0]) == 0.5


@pytest.mark.parametrize("ks", [[], [0], [5, 5], [1.5]])
def test_unusable_cutoffs_are_refused(ks: list[int]) -> None:
    with pytest.raises(ConfigError, match="cut-offs"):
        Recall(ks=ks)


def test_unknown_order_is_refused() -> None:
    with pytest.raises(ConfigError, match="cannot be ordered by this"):
        NDCG(by="prob")  # type: ignore[arg-type]
