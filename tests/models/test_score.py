"""The ranking score, of all tasks or of some."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import logsigmoid

from distill.models.score import RankingScore
from tests.batches import make_schema

LOGITS = torch.tensor([[0.5, -1.0, 2.0], [1.0, 3.0, -2.0]])
TASKS = ("click", "like", "buy")


@pytest.mark.parametrize(
    ("powers", "among", "expected"),
    [
        ({}, None, {0: 1.0, 1: 1.0, 2: 1.0}),
        ({}, ("click", "buy"), {0: 1.0, 2: 1.0}),
        ({"click": 0.5, "buy": 2.0}, None, {0: 0.5, 2: 2.0}),
        ({"click": 0.5, "buy": 2.0}, ("buy", "like"), {2: 2.0}),
        ({"click": 0.5}, ("like",), {}),
    ],
)
def test_product_over_the_tasks_that_are_there(powers, among, expected) -> None:
    schema = make_schema(TASKS)
    schema = schema.model_copy(update={"score": schema.score.model_copy(update={"tasks": powers})})
    score = RankingScore(schema, among)
    assert score.tasks == tuple(TASKS[k] for k in expected)
    logits = LOGITS.clone()
    logits[:, [k for k in range(3) if k not in expected]] = torch.nan
    by_hand = sum((power * logsigmoid(LOGITS[:, k]) for k, power in expected.items()), torch.zeros(2))
    torch.testing.assert_close(score(logits, {}), by_hand)


def test_columns_and_graded_tasks_enter_by_their_powers() -> None:
    schema = make_schema(("click", "grade"))
    tasks = (schema.tasks[0], schema.tasks[1].model_copy(update={"kind": "graded"}))
    powers = schema.score.model_copy(
        update={"tasks": {"click": 2.0, "grade": 0.5}, "columns": {"bid": 3.0, "age": -1.0}}
    )
    score = RankingScore(schema.model_copy(update={"tasks": tasks, "score": powers}))
    columns = {"bid": torch.tensor([2.0, 0.1]), "age": torch.tensor([4.0, 0.5])}
    by_hand = 2 * logsigmoid(LOGITS[:, 0]) + 0.5 * LOGITS[:, 1] + 3 * columns["bid"].log() - columns["age"].log()
    torch.testing.assert_close(score(LOGITS[:, :2], columns), by_hand)
