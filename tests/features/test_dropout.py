"""Dropout of ids and of the values of their rows."""

from __future__ import annotations

import pytest
import torch

from distill.errors import ConfigError
from distill.features import BorrowedTables, EmbeddingTables, Features
from distill.schema import MISSING_ID, OOV_ID, Schema
from tests.batches import make_batch, make_schema
from tests.models.building import MEAN
from tests.models.composing import build


@pytest.fixture
def schema() -> Schema:
    return make_schema()


def _tables(schema: Schema, ids: float = 0.0, values: float = 0.0) -> EmbeddingTables:
    torch.manual_seed(0)
    return Features(schema, 4, 0.5, MEAN, id_dropout=ids, embedding_dropout=values).build_tables()


def _looked_up(tables: EmbeddingTables, schema: Schema, name: str, ids: torch.Tensor) -> torch.Tensor:
    """The ids within the table whose rows a lookup returns."""
    spec = schema.field(name)
    found = tables.rows(tables.width(spec), ids + tables.offset(spec))
    return torch.cdist(found, tables.rows_of(spec.table)).argmin(-1)


@pytest.mark.parametrize("name", ["user", "hour", "item", "secret"])
def test_an_id_becomes_the_unknown_one_of_its_table(schema: Schema, name: str) -> None:
    tables = _tables(schema, ids=0.5)
    ids = torch.arange(5).repeat(400, 1)
    found = _looked_up(tables, schema, name, ids)
    changed = found != ids
    assert set(found[changed].tolist()) == {OOV_ID}
    assert not changed[:, : OOV_ID + 1].any()
    assert bool((ids[:, MISSING_ID] == found[:, MISSING_ID]).all())
    assert changed[:, 2:].float().mean().item() == pytest.approx(0.5, abs=0.05)
    tables.eval()
    assert torch.equal(_looked_up(tables, schema, name, ids), ids)


def test_the_unknown_row_learns_in_place_of_what_is_dropped(schema: Schema) -> None:
    tables = _tables(schema, ids=0.99)
    first = tables.offset(schema.field("user"))
    tables.rows(4, torch.full((200,), first + 7)).sum().backward()
    grad = tables.weights["4"].grad
    assert grad is not None
    touched = grad.to_dense()[:, 0]
    assert touched[first + 7] + touched[first + OOV_ID] == 200
    assert touched[first + OOV_ID] > 180


def test_values_of_sequences_are_dropped_one_by_one(schema: Schema) -> None:
    tables = _tables(schema, ids=0.5)
    first, lengths = tables.offset(schema.field("history")), torch.full((300,), 2)
    found = tables.mean(4, torch.tensor([3, 5]).repeat(300) + first, lengths)
    rows = tables.rows_of("item")
    pairs = [(rows[a] + rows[b]) / 2 for a in (3, OOV_ID) for b in (5, OOV_ID)]
    nearest = torch.cdist(found.detach(), torch.stack(pairs))
    assert float(nearest.min(1).values.max()) < 1e-3
    assert sorted(set(nearest.argmin(1).tolist())) == [0, 1, 2, 3]


def test_values_are_dropped_and_the_others_made_larger(schema: Schema) -> None:
    tables = _tables(schema, values=0.25)
    ids = torch.arange(12).repeat(100)
    rows = tables.weights["4"].detach()[ids]
    for found in (tables.rows(4, ids), tables.mean(4, ids, torch.ones_like(ids))):
        dropped = found == 0
        assert dropped.float().mean().item() == pytest.approx(0.25, abs=0.03)
        torch.testing.assert_close(found, (rows / 0.75).masked_fill(dropped, 0.0))
    tables.eval()
    assert torch.equal(tables.rows(4, ids), rows)


def test_borrowed_tables_drop_ids_of_their_own_layout(schema: Schema) -> None:
    lender = _tables(schema.serving_view())
    tables = BorrowedTables(schema, 4, 0.5, lender, ["user"])
    tables.drop(0.9, 0.0)
    ids = torch.arange(2, 5).repeat(50, 1)
    for name in ("user", "item", "secret"):
        found = _looked_up(tables, schema, name, ids)
        assert set(found[found != ids].tolist()) == {OOV_ID}, name


@pytest.mark.parametrize("model", ["two_tower", "dcn_v2"])
def test_a_model_drops_in_training_alone(schema: Schema, model: str) -> None:
    schema = schema.serving_view()
    plain = build(model, schema)
    dropping = build(model, schema, "model.net.id_dropout=0.5", "model.net.embedding_dropout=0.5")
    assert plain.state_dict().keys() == dropping.state_dict().keys()
    batch = make_batch(schema)
    assert torch.equal(plain.train()(batch).logits, plain.eval()(batch).logits)
    assert torch.equal(dropping.eval()(batch).logits, plain(batch).logits)
    assert not torch.equal(dropping.train()(batch).logits, plain(batch).logits)


@pytest.mark.parametrize("change", [{"id_dropout": 1.0}, {"embedding_dropout": -0.1}])
def test_values_out_of_range_are_refused(schema: Schema, change: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=next(iter(change))):
        Features(schema, 4, 0.5, MEAN, **change)  # type: ignore[arg-type]
