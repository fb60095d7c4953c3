"""Numbers that are embedded stand among the embeddings of a row; missing ones have a vector of their own."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from distill.batch import FeatureBlock
from distill.errors import SchemaError
from distill.features import EmbeddingTables, MeanPooling, SideEncoder
from distill.models.linear import LinearPart
from distill.schema import MISSING_NUMBER, Schema, Side, parse_schema
from tests.batches import make_batch

PLE: dict[str, Any] = {"type": "piecewise_linear", "bins": 4}
AUTODIS: dict[str, Any] = {"type": "autodis", "buckets": 3}


def _schema(**options: Any) -> Schema:
    fields = [
        {"name": "plain", "side": "request", "kind": "number"},
        {"name": "places", "side": "request", "kind": "number", "encoding": PLE, "size": 3, "embedding_dim": 2},
        {"name": "user", "side": "request", "kind": "id", "size": 7},
        {"name": "mix", "side": "request", "kind": "number", "encoding": AUTODIS},
        {"name": "other", "side": "request", "kind": "number", "encoding": "identity"},
        {
            "name": "more",
            "side": "request",
            "kind": "number",
            "encoding": PLE,
            "size": 4,
            "embedding_dim": 2,
            **options,
        },
        {"name": "item", "side": "candidate", "kind": "id", "size": 5},
    ]
    return parse_schema({"name": "n", "layout": "requests", "fields": fields, "tasks": [{"name": "click"}]}, "test")


@pytest.fixture
def encoder() -> SideEncoder:
    torch.manual_seed(0)
    schema = _schema()
    return SideEncoder(schema, Side.REQUEST, EmbeddingTables(schema, 5), MeanPooling())


def _encoded(encoder: SideEncoder, numbers: torch.Tensor) -> dict[str, torch.Tensor]:
    block = FeatureBlock(torch.zeros(numbers.shape[0], 1, dtype=torch.int64), numbers, {}, {})
    widths = encoder.layout.widths
    return dict(zip(widths, encoder(block).split(list(widths.values()), 1), strict=True))


def test_each_number_stands_in_its_columns(encoder: SideEncoder) -> None:
    assert dict(encoder.layout.widths) == {"user": 5, "places": 2, "more": 2, "mix": 5, "plain": 1, "other": 1}
    assert encoder.layout.dense == {"plain", "other"}
    numbers = torch.randn(4, 5)
    found = _encoded(encoder, numbers)
    assert torch.equal(found["plain"], numbers[:, :1])
    assert torch.equal(found["other"], numbers[:, 3:4])
    for name, column in (("places", 1), ("mix", 2), ("more", 4)):
        changed = numbers.clone()
        changed[:, column] += 0.5
        differs = {field for field, value in _encoded(encoder, changed).items() if not torch.equal(value, found[field])}
        assert differs == {name}


def test_a_missing_number_has_a_vector_of_its_own_and_the_others_no_part_in_it(encoder: SideEncoder) -> None:
    numbers = torch.zeros(2, 5)
    numbers[1] = MISSING_NUMBER
    found = _encoded(encoder, numbers)
    embeddings = encoder.number_embeddings
    assert embeddings is not None
    for name in ("places", "mix", "more"):
        vector = embeddings.missing[f"of_{name}"]
        assert torch.equal(found[name][1], vector)
        assert not torch.equal(found[name][0], vector)
        found[name][1].sum().backward(retain_graph=True)
    assert all(p.grad is None or not p.grad.any() for p in embeddings.layers.parameters())


def test_the_linear_part_begins_at_zero_and_learns_a_function_of_the_number() -> None:
    schema = _schema()
    part, batch = LinearPart(schema), make_batch(schema)
    assert not part(batch).any()
    part(batch).sum().backward()
    embeddings = part.request.encoder.number_embeddings
    assert embeddings is not None
    assert bool(embeddings.layers[0].weights["of_places"].grad.any())


def test_a_schema_that_is_not_prepared_is_refused() -> None:
    schema = _schema(size=None)
    with pytest.raises(SchemaError, match=r"field more"):
        SideEncoder(schema, Side.REQUEST, EmbeddingTables(schema, 5), MeanPooling())
