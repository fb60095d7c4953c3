"""Tasks that happen after one another: products of probabilities, and a penalty where they cannot be."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from distill.errors import ConfigError
from distill.models.rankers.interaction import InteractionRanker
from distill.models.task_order import CalibratedTasks, ConditionalTasks
from distill.models.training_rows import rows_in_training
from distill.schema import Task
from tests.batches import make_batch, make_schema
from tests.models.composing import build

TASKS = [Task(name=name) for name in ("buy", "click", "cart")]
CHAIN = {"buy": "cart", "cart": "click"}
BATCH = make_batch(make_schema())


def test_probabilities_are_products_over_all_rows() -> None:
    heads = torch.randn(50, 3, dtype=torch.float64) * 3
    logits, penalties = ConditionalTasks(TASKS, CHAIN)(heads, BATCH)
    buy, click, cart = 1 / (1 + np.exp(-heads.numpy().T))
    expected = np.stack([buy * cart * click, click, cart * click], axis=1)
    np.testing.assert_allclose(logits.sigmoid().numpy(), expected, rtol=1e-5)
    assert not penalties


@pytest.mark.parametrize("size", [40.0, 1e4])
def test_neither_end_is_rounded_away(size: float) -> None:
    heads = torch.tensor([[0.0, size, size], [0.0, -size, -size], [0.0, size, -size]], requires_grad=True)
    logits, _ = ConditionalTasks(TASKS, {"cart": "click"})(heads, BATCH)
    wanted = torch.tensor([size - float(np.log(2.0)), -2 * size, -size])
    torch.testing.assert_close(logits[:, 2], wanted)
    logits.sum().backward()
    assert heads.grad is not None
    assert bool(heads.grad.isfinite().all())


def test_the_order_is_that_of_the_schema_unless_it_is_given() -> None:
    assert ConditionalTasks(TASKS, "in_order").steps == [(1, 0), (2, 1)]
    assert ConditionalTasks(TASKS, CHAIN).steps == [(2, 1), (0, 2)]
    with_stars = [TASKS[0], Task(name="stars", kind="value"), TASKS[1]]
    assert ConditionalTasks(with_stars, "in_order").steps == [(2, 0)]
    assert ConditionalTasks(TASKS[:1], "in_order").steps == []


@pytest.mark.parametrize(
    ("after", "found"),
    [({"buy": "look"}, "look"), ({"buy": "buy"}, "buy after buy"), ({"buy": "cart", "cart": "buy"}, "cart after buy")],
)
def test_what_is_no_order_is_refused(after: Any, found: str) -> None:
    with pytest.raises(ConfigError, match=found):
        ConditionalTasks(TASKS, after)


def test_a_label_of_clicked_rows_alone_has_no_product() -> None:
    tasks = [Task(name="click"), Task(name="buy", observed="click")]
    with pytest.raises(ConfigError, match="buy is observed where click is 1"):
        ConditionalTasks(tasks, "in_order")
    assert CalibratedTasks(tasks, "in_order", 1.0).steps == []


def test_the_calibrator_counts_what_a_later_task_is_too_probable() -> None:
    batch = replace(BATCH, weight=torch.arange(8.0))
    order = CalibratedTasks(TASKS, CHAIN, 0.5)
    logits = torch.randn(8, 3)
    same, penalties = order(logits, batch)
    assert same is logits
    buy, click, cart = 1 / (1 + np.exp(-logits.numpy().T))
    excess = np.maximum(buy - cart, 0) + np.maximum(cart - click, 0)
    weight = batch.weight.numpy() * batch.observed.any(dim=1).numpy()
    np.testing.assert_allclose(
        float(penalties["calibrator"].mean()), 0.5 * (excess * weight).sum() / weight.sum(), rtol=1e-5
    )
    assert not order.eval()(logits, batch)[1]
    with pytest.raises(ConfigError, match="negative"):
        CalibratedTasks(TASKS, CHAIN, -1.0)


def test_esmm_never_says_that_a_later_task_is_the_more_probable() -> None:
    schema = make_schema(("click", "buy"))
    logits = build("esmm", schema)(make_batch(schema)).logits
    assert bool((logits[:, 1] < logits[:, 0]).all())


def test_a_ranker_keeps_the_rows_that_its_order_penalises() -> None:
    schema = make_schema(("click", "buy"))
    batch = make_batch(schema)
    model, plain = build("aitm", schema), build("mmoe", schema)
    assert isinstance(model, InteractionRanker)
    assert set(model(batch).penalties) == {"calibrator"}
    assert torch.equal(rows_in_training(model, batch), batch.labelled.any(dim=1))
    assert not bool(rows_in_training(plain, batch).any())
