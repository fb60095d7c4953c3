from __future__ import annotations

import pytest
import torch

from distill.batch import FeatureBlock, Ragged
from distill.errors import SchemaError
from distill.features import EmbeddingTables, MeanPooling, ServingProjection, SideEncoder
from distill.schema import Schema, Side
from tests.batches import make_batch, make_schema


@pytest.fixture
def schema() -> Schema:
    return make_schema()


def _rows(tables: EmbeddingTables, schema: Schema, name: str) -> torch.Tensor:
    spec = schema.field(name)
    start = tables.offset(spec)
    return tables.weights[str(tables.width(spec))][start : start + (spec.size or 0)]


def test_each_slot_holds_its_field(schema: Schema) -> None:
    tables = EmbeddingTables(schema, 4)
    encoder = SideEncoder(schema, Side.REQUEST, tables, MeanPooling())
    block = make_batch(schema).request
    encoded = encoder(block)
    slots = dict(zip(encoder.layout.widths, encoded.split(list(encoder.layout.widths.values()), 1), strict=True))
    assert encoded.shape == (3, encoder.out_features)
    assert torch.equal(slots["user"], _rows(tables, schema, "user")[block.ids[:, 0]])
    assert torch.equal(slots["hour"], _rows(tables, schema, "hour")[block.ids[:, 1]])
    assert slots["hour"].shape[1] == 3
    assert torch.equal(slots["age"], block.numbers)


def test_sequence_is_averaged_from_the_shared_table_and_empty_is_zero(schema: Schema) -> None:
    tables = EmbeddingTables(schema, 4)
    encoder = SideEncoder(schema, Side.REQUEST, tables, MeanPooling())
    block = make_batch(schema, (1, 1)).request
    history = Ragged(torch.tensor([3, 5]), torch.tensor([2, 0]))
    encoded = encoder(FeatureBlock(block.ids, block.numbers, {}, {"history": history}))
    start = encoder.layout.start("history")
    pooled = encoded[:, start : start + encoder.layout.widths["history"]]
    items = _rows(tables, schema, "item")
    torch.testing.assert_close(pooled[0], (items[3] + items[5]) / 2)
    assert torch.equal(pooled[1], torch.zeros(4))


def test_gradients_are_sparse_and_touch_only_the_rows_used(schema: Schema) -> None:
    tables = EmbeddingTables(schema, 4)
    encoder = SideEncoder(schema, Side.CANDIDATE, tables, MeanPooling())
    block = make_batch(schema, (2,)).candidate
    encoder(block).sum().backward()
    grad = tables.weights["4"].grad
    assert grad is not None
    assert grad.is_sparse
    items, secrets = tables.offset(schema.field("item")), tables.offset(schema.field("secret"))
    expected = set((block.ids[:, 0] + items).tolist()) | set((block.ids[:, 1] + secrets).tolist())
    assert set(grad.coalesce().indices()[0].tolist()) == expected


def test_side_without_fields_has_width_zero() -> None:
    schema = make_schema()
    bare = schema.model_copy(update={"fields": tuple(f for f in schema.fields if f.side is not Side.CROSS)})
    encoder = SideEncoder(bare, Side.CROSS, EmbeddingTables(bare, 4), MeanPooling())
    assert encoder(make_batch(bare).cross).shape == (8, 0)


def test_unprepared_schema_is_refused(schema: Schema) -> None:
    fields = (schema.fields[0].model_copy(update={"size": None}), *schema.fields[1:])
    with pytest.raises(SchemaError, match="field user"):
        EmbeddingTables(schema.model_copy(update={"fields": fields}), 4)


def test_serving_projection_equals_reading_the_serving_view(schema: Schema) -> None:
    batch = make_batch(schema)
    projected = ServingProjection(schema)(batch)
    kept = [f.name for f in schema.side(Side.CANDIDATE) if f.is_id and not f.privileged]
    assert kept == ["item"]
    assert torch.equal(projected.candidate.ids, batch.candidate.ids[:, :1])
    assert torch.equal(projected.cross.numbers, batch.cross.numbers[:, :1])
    assert projected.request is batch.request
    serving = schema.serving_view()
    again = ServingProjection(serving)(projected)
    assert again.candidate is projected.candidate
