"""Heads that begin at the rates of the labels, whatever the model."""

from __future__ import annotations

import pytest
import torch

from distill.errors import ConfigError
from distill.models.cost.random_batch import random_batch
from distill.models.head_bias import start_heads_at
from distill.models.rankers.interaction import InteractionRanker
from distill.models.task_order import ConditionalTasks
from distill.schema import Task
from distill.training.second_head import SecondHead, with_second_head
from tests.batches import make_schema
from tests.marks import some_fast
from tests.models.composing import build
from tests.models.listing import PRERANKERS, RANKERS

RATES = torch.tensor([0.02, 0.005])
LOGITS = RATES.logit()
WHERE = "model.head_bias"


@pytest.mark.parametrize("name", some_fast([*RANKERS, *PRERANKERS], 6))
def test_the_bias_of_every_model_is_found_and_nothing_else_moves(name: str) -> None:
    schema = make_schema() if name in RANKERS else make_schema().serving_view()
    model, batch = build(name, schema), random_batch(schema, [3, 4], seed=5)
    before, mode = {n: p.detach().clone() for n, p in model.named_parameters()}, model.training
    found = start_heads_at(model, LOGITS, random_batch(schema, [2, 3]), WHERE)
    moved = [n for n, p in model.named_parameters() if not torch.equal(p, before[n])]
    assert moved == [found]
    assert model.training == mode
    with torch.no_grad():
        said = model.eval()(batch).logits
        for n, p in model.named_parameters():
            p.copy_(before[n])
        plain = model(batch).logits
    if name == "esmm":  # a product: the head of the later task begins at its share of the earlier one
        share = (RATES[1] / RATES[0]).logit()
        assert isinstance(model, InteractionRanker)
        torch.testing.assert_close(said.sigmoid().mean(0), RATES, atol=0, rtol=0.6)
        assert abs(float(said.sigmoid()[:, 1].div(said.sigmoid()[:, 0]).logit().mean() - share)) < 0.6
        return
    torch.testing.assert_close(said - plain, (LOGITS - before[found]).expand_as(said), atol=1e-4, rtol=1e-4)


def test_a_second_head_begins_like_the_first() -> None:
    schema = make_schema().serving_view()
    model = build("two_tower", with_second_head(schema))
    SecondHead.of(model, build("two_tower", schema), random_batch(schema, [2, 3]), "model.head")
    start_heads_at(model, LOGITS, random_batch(schema, [2, 3]), WHERE)
    torch.testing.assert_close(model.similarity.bias.detach(), LOGITS.repeat(2))  # type: ignore[union-attr]


def test_a_later_task_that_is_not_rarer_is_refused_where_it_is_a_product() -> None:
    schema = make_schema()
    batch = random_batch(schema, [2, 3])
    with pytest.raises(ConfigError, match="rarer"):
        start_heads_at(build("esmm", schema), LOGITS.flip(0), batch, WHERE)
    start_heads_at(build("aitm", schema), LOGITS.flip(0), batch, WHERE)  # heads that say the tasks themselves


def test_models_without_such_a_bias_are_refused() -> None:
    schema = make_schema().serving_view()
    batch = random_batch(schema, [2, 3])
    with pytest.raises(ConfigError, match="fitted in one pass"):
        start_heads_at(build("quality_score", schema), LOGITS, batch, WHERE)
    model = build("two_tower", schema)
    del model.similarity._parameters["bias"]  # type: ignore[union-attr]
    model.similarity.register_buffer("bias", torch.zeros(2))  # type: ignore[operator, union-attr]
    with pytest.raises(ConfigError, match="added to the logit"):
        start_heads_at(model, LOGITS, batch, WHERE)


@pytest.mark.parametrize("later", [0.3, 0.5])
def test_a_later_task_must_be_the_rarer_one(later: float) -> None:
    order = ConditionalTasks([Task(name="click"), Task(name="buy")], "in_order")
    rates = torch.tensor([0.3, later]).logit()
    with pytest.raises(ConfigError, match="its share of the earlier one"):
        order.head_logits(rates)
    assert order.head_logits(torch.tensor([0.3, 0.15]).logit()).sigmoid().tolist() == pytest.approx([0.3, 0.5])
