"""What holds for every model: shapes, a batch of one, learning, requests whole or apart, no privileged field."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import nn

from distill.batch import Batch, FeatureBlock
from distill.errors import ConfigError
from distill.features import ServingProjection, TransformerPooling
from distill.losses.functional import bce_with_logits
from distill.models.prerankers.base import SplitPreRanker
from distill.schema import Schema
from tests.batches import make_batch, make_schema
from tests.models.building import small_dcn_v2, small_two_tower

MODELS: dict[str, Callable[[Schema], nn.Module]] = {
    "dcn_parallel": small_dcn_v2,
    "dcn_stacked_low_rank": lambda schema: small_dcn_v2(schema, "stacked", 3),
    "two_tower_cosine": small_two_tower,
    "two_tower_dot_shared": lambda schema: small_two_tower(schema, "dot", True),
    "dcn_transformer": lambda schema: small_dcn_v2(schema, sequence=TransformerPooling(1, 2, 0.0, 3)),
    "two_tower_transformer": lambda schema: small_two_tower(schema, sequence=TransformerPooling(1, 2, 0.0, 3)),
    "two_tower_distinct": lambda schema: small_two_tower(schema, distinct=True),
}
STUDENTS = ("two_tower_cosine", "two_tower_dot_shared", "two_tower_transformer", "two_tower_distinct")


@pytest.fixture(params=MODELS)
def build(request: pytest.FixtureRequest) -> Callable[[Schema], nn.Module]:
    return MODELS[request.param]


def test_shapes_and_a_batch_of_one(build: Callable[[Schema], nn.Module]) -> None:
    schema = make_schema()
    model = build(schema)
    assert model(make_batch(schema)).logits.shape == (8, 2)
    assert model(make_batch(schema, (1,))).logits.shape == (1, 2)
    single = make_schema(("click",))
    assert build(single)(make_batch(single, (1,))).logits.shape == (1, 1)


@pytest.mark.slow
def test_overfits(build: Callable[[Schema], nn.Module]) -> None:
    torch.manual_seed(0)
    schema = make_schema()
    model = build(schema)
    batch = make_batch(schema, (16, 16), seed=1)
    sparse = [p for n, p in model.named_parameters() if "tables" in n]
    dense = [p for n, p in model.named_parameters() if "tables" not in n]
    optimizers = [torch.optim.Adam(dense, lr=0.02), torch.optim.SparseAdam(sparse, lr=0.05)]
    for _ in range(150):
        loss = bce_with_logits(model(batch).logits, batch.labels).mean()
        for optimizer in optimizers:
            optimizer.zero_grad()
        loss.backward()
        for optimizer in optimizers:
            optimizer.step()
    assert float(loss.detach()) < 0.1


def test_requests_do_not_see_each_other(build: Callable[[Schema], nn.Module]) -> None:
    schema = make_schema()
    model = build(schema).eval()
    together = model(make_batch(schema, (3, 5))).logits
    batch = make_batch(schema, (3, 5))
    first = _first_request(batch, 3)
    torch.testing.assert_close(model(first).logits, together[:3])


@pytest.mark.parametrize("name", STUDENTS)
def test_item_vectors_computed_alone_give_the_same_logits(name: str) -> None:
    schema = make_schema()
    model = MODELS[name](schema).eval()
    assert isinstance(model, SplitPreRanker)
    batch = make_batch(schema)
    stored = torch.cat([model.encode_candidate(_row(batch, i)) for i in range(batch.num_candidates)])
    request = model.encode_request(batch.request)
    logits = model.interact(request, stored, batch.cross, batch.request_index).logits
    torch.testing.assert_close(logits, model(batch).logits)
    assert model.precomputable == {"request", "candidate"}


@pytest.mark.parametrize("name", STUDENTS)
def test_a_student_is_blind_to_privileged_fields(name: str) -> None:
    schema = make_schema()
    model = MODELS[name](schema.serving_view())
    projection = ServingProjection(schema)
    batch = make_batch(schema)
    secret = replace(batch.candidate, ids=torch.stack([batch.candidate.ids[:, 0], 4 - batch.candidate.ids[:, 1]], 1))
    other = replace(
        batch, candidate=secret, cross=replace(batch.cross, numbers=batch.cross.numbers * torch.tensor([1.0, 9.0]))
    )
    assert torch.equal(model(projection(batch)).logits, model(projection(other)).logits)
    teacher = small_dcn_v2(schema)
    assert not torch.equal(teacher(batch).logits, teacher(other).logits)


def test_dcn_counts_parameters_as_its_formula() -> None:
    schema = make_schema()
    model = small_dcn_v2(schema)
    width = model.encoder.layout.num_columns
    assert width == 4 + 3 + 4 + 1 + 4 + 4 + 4 + 1 + 2
    tables = (12 + 20 + 5) * 4 + 6 * 3
    cross = 2 * (width * width + width)
    mlp = (width + 1) * 16 + (16 + 1) * 8
    heads = (width + 8 + 1) * 2
    assert sum(p.numel() for p in model.parameters()) == tables + cross + mlp + heads


def test_cosine_logits_are_bounded_by_the_scale() -> None:
    schema = make_schema()
    model = small_two_tower(schema)
    logits = model(make_batch(schema)).logits - model.similarity.bias
    assert bool((logits.abs() <= model.similarity.log_scale.exp() + 1e-5).all())


def test_unknown_options_are_refused() -> None:
    with pytest.raises(ConfigError, match="cosine or dot"):
        small_two_tower(make_schema(), "euclid")
    with pytest.raises(ConfigError, match="parallel or stacked"):
        small_dcn_v2(make_schema(), "serial")


def _first_request(batch: Batch, size: int) -> Batch:
    candidate = replace(
        batch.candidate,
        ids=batch.candidate.ids[:size],
        numbers=batch.candidate.numbers[:size],
        vectors={n: v[:size] for n, v in batch.candidate.vectors.items()},
    )
    cross = replace(batch.cross, ids=batch.cross.ids[:size], numbers=batch.cross.numbers[:size])
    history = batch.request.sequences["history"]
    length = int(history.lengths[0])
    request = replace(
        batch.request,
        ids=batch.request.ids[:1],
        numbers=batch.request.numbers[:1],
        sequences={"history": replace(history, values=history.values[:length], lengths=history.lengths[:1])},
    )
    return replace(
        batch,
        request=request,
        candidate=candidate,
        cross=cross,
        request_index=batch.request_index[:size],
        request_id=batch.request_id[:1],
    )


def _row(batch: Batch, i: int) -> FeatureBlock:
    block = batch.candidate
    return replace(
        block,
        ids=block.ids[i : i + 1],
        numbers=block.numbers[i : i + 1],
        vectors={name: value[i : i + 1] for name, value in block.vectors.items()},
    )


def test_equal_candidates_encoded_once_give_the_same_scores_and_gradients() -> None:
    schema = make_schema()
    once, each = small_two_tower(schema, distinct=True), small_two_tower(schema)
    once.load_state_dict(each.state_dict())
    batch = make_batch(schema, (6, 6))
    repeated = replace(batch, candidate=batch.candidate.select(torch.tensor([0, 1, 2, 0, 1, 3, 3, 0, 5, 5, 5, 0])))
    outputs = [model(repeated).logits for model in (once, each)]
    torch.testing.assert_close(outputs[0], outputs[1])
    for output in outputs:
        output.square().sum().backward()
    for (name, a), b in zip(once.named_parameters(), each.parameters(), strict=True):
        assert a.grad is not None, name
        assert b.grad is not None, name
        torch.testing.assert_close(a.grad.to_dense(), b.grad.to_dense(), msg=name)
