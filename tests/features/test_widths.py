"""Widths of embeddings by the number of ids."""

from __future__ import annotations

import pytest
import torch

from distill.errors import ConfigError
from distill.features import Features
from distill.features.widths import width_of
from distill.jobs.parts import build_model
from distill.schema import Schema
from tests.batches import make_batch, make_schema
from tests.models.building import MEAN
from tests.models.composing import composed_net


@pytest.mark.parametrize(
    ("size", "width"), [(2, 4), (256, 4), (257, 8), (4096, 8), (4097, 12), (20_736, 12), (20_737, 16), (10**8, 16)]
)
def test_a_width_is_the_fourth_root_of_the_size(size: int, width: int) -> None:
    assert width_of(size, 16) == width
    assert width_of(size, 6) == min(width, 6)


@pytest.fixture
def schema() -> Schema:
    """One in which items are many: the history shares their table."""
    made = make_schema()
    many = {"item": 5000, "history": 5000, "user": 300}
    sized = tuple(f.model_copy(update={"size": many.get(f.name, f.size)}) for f in made.fields)
    return made.model_copy(update={"fields": sized})


def test_small_tables_are_narrow_and_own_widths_stay(schema: Schema) -> None:
    tables = Features(schema, 16, 0.05, MEAN, embedding_widths="auto").build_tables()
    found = {f.name: tables.width(f) for f in schema.fields if f.encoding.makes_ids}
    assert found == {"user": 8, "hour": 3, "history": 12, "item": 12, "secret": 4}
    assert {width: rows.shape[0] for width, rows in tables.weights.items()} == {"8": 300, "3": 6, "12": 5000, "4": 5}
    with pytest.raises(ConfigError, match="embedding_widths"):
        Features(schema, 16, 0.05, MEAN, embedding_widths="wide")  # type: ignore[arg-type]


@pytest.mark.parametrize("model", ["dcn_v2", "deepfm", "din"])
def test_bodies_take_fields_of_several_widths(schema: Schema, model: str) -> None:
    net = composed_net(model, "model.net.embedding_widths=auto") | {"embedding_dim": 16}
    built = build_model(net, schema, "model.net")
    output = built(make_batch(schema))
    output.logits.sum().backward()
    assert output.logits.shape[1] == 2
    assert bool(torch.isfinite(output.logits).all())
    (tables,) = {m for name, m in built.named_modules() if name == "encoder.tables"}
    assert sorted(tables.weights) == ["12", "3", "4", "8"]
