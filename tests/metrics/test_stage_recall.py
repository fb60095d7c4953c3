from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from distill.errors import ConfigError
from distill.metrics import Evaluation, ScoredRows, StageRecall

Table = Callable[..., ScoredRows]


def rows_of(table: Table, scores: list[float], stages: list[int], clicks: list[float]) -> ScoredRows:
    rows = table([len(scores)], num_tasks=1)
    labels = torch.tensor(clicks)[:, None]
    seen = torch.tensor(stages)[:, None] == 3
    return replace(
        rows, score=torch.tensor(scores), stage=torch.tensor(stages), labels=labels, observed=seen, teacher_logits=None
    )


def test_by_hand_of_all_recalled_candidates(table: Table) -> None:
    """The student's three best are 0, 1 and 4. Ranked: 1, 2, 3, 4 (exposed ones too); exposed: 2, 4; clicked: 4 (the
    label of candidate 0 was not observed)."""
    rows = rows_of(table, [9, 8, 3, 2, 7, 1], [0, 2, 3, 2, 3, 1], [1, 0, 0, 0, 1, 0])
    found = StageRecall(ks=[3], stages=["preranked", "ranked", "exposed"])(Evaluation(rows, ["click"]))
    assert {name: value for name, value in found.items() if not name.endswith("_skipped")} == {
        "stage_recall@3_preranked": pytest.approx(2 / 5),
        "stage_recall@3_ranked": pytest.approx(2 / 4),
        "stage_recall@3_exposed": pytest.approx(1 / 2),
        "click/stage_recall@3": 1.0,
    }


def test_ties_count_by_the_mean_over_all_orders(table: Table) -> None:
    scores, stages = [1.0, 2.0, 2.0, 2.0, 0.0], [3, 3, 0, 2, 3]
    found = StageRecall(ks=[2], stages=["exposed"], tasks=[])(
        Evaluation(rows_of(table, scores, stages, [0.0] * 5), ["click"])
    )
    orders = [
        p for p in itertools.permutations(range(5)) if all(scores[a] >= scores[b] for a, b in itertools.pairwise(p))
    ]
    by_order = [sum(stages[i] == 3 for i in order[:2]) / 3 for order in orders]
    assert found["stage_recall@2_exposed"] == pytest.approx(sum(by_order) / len(by_order))
    assert "click/stage_recall@2" not in found


@pytest.mark.parametrize(
    ("scores", "stages"),
    [([1.0, 2.0], [3, 0]), ([1.0, 2.0, 3.0], [3, 3, 3]), ([1.0, 2.0, 3.0], [0, 0, 1])],
    ids=["no more than k candidates", "all of them exposed", "none exposed"],
)
def test_requests_that_no_order_can_change_do_not_count(table: Table, scores: list[float], stages: list[int]) -> None:
    one = rows_of(table, scores, stages, [0.0] * len(scores))
    other = rows_of(table, [3.0, 2.0, 1.0], [3, 0, 0], [0.0] * 3)
    both = ScoredRows(
        **{
            name: torch.cat([getattr(one, name), getattr(other, name) + (100 if name in ("row", "request_id") else 0)])
            for name in (
                "row",
                "request_id",
                "user_id",
                "item_id",
                "logits",
                "score",
                "labels",
                "observed",
                "stage",
                "weight",
            )
        },
        columns={},
    )
    result = StageRecall(ks=[2], stages=["exposed"], tasks=[]).per_request(Evaluation(both, ["click"]))
    assert result["stage_recall@2_exposed"].used.tolist() == [False, True]
    assert float(result["stage_recall@2_exposed"].mean()) == 1.0


def test_without_stages_the_positives_are_left(table: Table) -> None:
    rows = replace(table([5] * 4), stage=torch.full((20,), 3))
    metric = StageRecall(ks=[2])
    found = metric(Evaluation(rows, ["click", "buy"]))
    assert {name for name in found if not name.endswith("_skipped")} == {"click/stage_recall@2", "buy/stage_recall@2"}
    assert metric.missing(Evaluation(rows, ["click", "buy"])) == "all candidates got equally far"
    assert metric.missing(Evaluation(table([5]), ["click", "buy"])) is None


def test_flat_data_have_none(table: Table) -> None:
    found = StageRecall(ks=[1])(Evaluation(table([1] * 30), ["click", "buy"]))
    assert all(math.isnan(value) for name, value in found.items() if not name.endswith("_skipped"))


def test_an_unknown_stage_is_refused() -> None:
    with pytest.raises(ConfigError, match="unknown stage"):
        StageRecall(stages=["recalled"])
