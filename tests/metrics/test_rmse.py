from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from sklearn.metrics import mean_squared_error

from distill.metrics import RMSE, Evaluation
from distill.metrics.rows import ScoredRows

Table = Callable[..., ScoredRows]
TASKS = ("click", "buy")


@pytest.fixture
def rows(table: Table) -> ScoredRows:
    """A table whose `click` is any number, and `buy` 0 or 1."""
    found = table([1] * 60)
    draw = torch.Generator().manual_seed(3)
    labels = torch.stack([torch.randn(60, generator=draw) * 5, (torch.arange(60) % 2).float()], dim=1)
    return replace(found, labels=labels, weight=torch.rand(60, generator=draw) + 0.5)


def value(rows: ScoredRows) -> float:
    return RMSE()(Evaluation(rows, TASKS))["click/rmse"]


def test_it_is_the_root_of_the_mean_square_of_observed_rows(rows: ScoredRows) -> None:
    seen = rows.observed[:, 0]
    assert 0 < int(seen.sum()) < 60
    own = (rows.labels[seen, 0], rows.logits[seen, 0])
    assert value(rows) == pytest.approx(mean_squared_error(*own, sample_weight=rows.weight[seen]) ** 0.5)
    alike = RMSE(weighted=False)(Evaluation(rows, TASKS))["click/rmse"]
    assert alike == pytest.approx(mean_squared_error(*own) ** 0.5)


def test_binary_tasks_are_left_out_unless_they_are_named(rows: ScoredRows) -> None:
    evaluation = Evaluation(rows, TASKS)
    assert set(RMSE()(evaluation)) == set(RMSE().sampled(evaluation)) == {"click/rmse"}
    assert RMSE().missing(evaluation) == "no label outside {0, 1}: task buy left out"
    assert set(RMSE(tasks=["buy"])(evaluation)) == {"buy/rmse"}
    assert RMSE(tasks=["buy"]).missing(evaluation) is None


def test_no_rows_have_no_value(rows: ScoredRows) -> None:
    unseen = replace(rows, observed=torch.zeros_like(rows.observed))
    assert math.isnan(RMSE(tasks=["click"])(Evaluation(unseen, TASKS))["click/rmse"])


def test_its_influences_are_its_derivatives_by_the_weight_of_a_row(rows: ScoredRows) -> None:
    rows = replace(rows, observed=torch.ones_like(rows.observed), weight=torch.ones(60, dtype=torch.float64))
    found = RMSE().sampled(Evaluation(rows, TASKS))["click/rmse"]
    assert float(found.value) == pytest.approx(value(rows))  # type: ignore[union-attr]
    small = 1e-6
    for row in range(0, 60, 7):
        moved = rows.weight.clone()
        moved[row] += small
        slope = (value(replace(rows, weight=moved)) - value(rows)) / small
        assert float(found.parts[row]) == pytest.approx(slope, abs=1e-5)  # type: ignore[union-attr]
