"""Rows of groups are the mean of the rows of their members, and do not learn."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from distill.batch import FeatureBlock
from distill.errors import ConfigError
from distill.features import BorrowedTables, EmbeddingTables, ShardedTables, SideEncoder
from distill.features.groups import set_group_rows
from distill.features.sequence import MeanPooling
from distill.schema import Schema, Side, parse_schema
from distill.training.held_rows import forget_gradients, held_rows
from distill.training.rowwise_adagrad import RowwiseAdagrad

# Ids 2 to 5 are items; groups are 6 (2 and 3), 7 (4, 5) and, of the second level, 8 (2).
OF = torch.tensor([[0, 0], [0, 0], [6, 8], [6, 0], [7, 0], [7, 0], [0, 0], [0, 0], [0, 0]], dtype=torch.int32)


def schema(**change: Any) -> Schema:
    fields = [
        {"name": "item", "side": "candidate", "kind": "id", "cold": ["shop", "brand"], "size": 9},
        {"name": "shop", "side": "candidate", "kind": "id", "size": 4},
        {"name": "brand", "side": "candidate", "kind": "id", "size": 3, "embedding_dim": 3},
        {"name": "past", "side": "request", "kind": "sequence", "table": "item", "size": 9},
    ]
    data = {"name": "s", "layout": "flat", "fields": fields, "tasks": [{"name": "y"}]}
    return parse_schema({**data, **change}, "s")


def told(tables: EmbeddingTables) -> EmbeddingTables:
    tables.groups.tell({"item": OF})
    return tables


def test_means_by_hand() -> None:
    rows = torch.arange(18.0).reshape(9, 2) ** 2
    before = rows.clone()
    set_group_rows(rows, OF)
    assert torch.equal(rows[:6], before[:6])
    assert rows[6].tolist() == [(4**2 + 6**2) / 2, (5**2 + 7**2) / 2]
    assert rows[7].tolist() == [(8**2 + 10**2) / 2, (9**2 + 11**2) / 2]
    assert rows[8].tolist() == [4**2, 5**2]
    set_group_rows(before, torch.zeros_like(OF))
    assert torch.equal(before, torch.arange(18.0).reshape(9, 2) ** 2)


def test_tables_set_them_when_training_pauses_and_at_no_other_time() -> None:
    tables = told(EmbeddingTables(schema(), 2, 1.0))
    rows = tables.rows_of("item")
    fresh = rows[6].clone()
    tables.train()
    assert torch.equal(rows[6], fresh)
    tables.eval()
    torch.testing.assert_close(rows[6], (rows[2] + rows[3]) / 2)
    rows[2] += 1
    tables.eval()
    tables.train()
    assert not torch.allclose(rows[6], (rows[2] + rows[3]) / 2)
    tables.eval()
    torch.testing.assert_close(rows[6], (rows[2] + rows[3]) / 2)
    torch.testing.assert_close(rows[8], rows[2])


def test_a_checkpoint_knows_the_groups() -> None:
    tables = told(EmbeddingTables(schema(), 2, 1.0))
    again = EmbeddingTables(schema(), 2, 1.0)
    again.load_state_dict(tables.state_dict())
    again.eval()
    torch.testing.assert_close(again.rows_of("item")[7], (tables.rows_of("item")[4:6]).mean(0))
    plain = [f.model_copy(update={"cold": None}) for f in schema().fields]
    bare = EmbeddingTables(schema().model_copy(update={"fields": tuple(plain)}), 2, 1.0)
    assert set(bare.state_dict()) == {"weights.2", "weights.3"}  # as ever


def test_they_do_not_learn_and_others_do() -> None:
    tables = told(EmbeddingTables(schema(), 2, 1.0))
    tables.eval()
    tables.train()
    before = tables.rows_of("item").clone()
    encoder = SideEncoder(schema(), Side.CANDIDATE, tables, None)
    request = SideEncoder(schema(), Side.REQUEST, tables, MeanPooling())
    held = held_rows(torch.nn.ModuleList([encoder, request]))
    assert [rows.nonzero().flatten().tolist() for _, rows in held] == [[6, 7, 8]]
    optimizer = RowwiseAdagrad(tables.parameters(), lr=0.1)
    nothing = FeatureBlock(torch.zeros(3, 0, dtype=torch.long), torch.zeros(3, 0), {}, {})
    block = FeatureBlock(torch.tensor([[2, 2, 2], [6, 3, 1], [8, 2, 2]]), nothing.numbers, {}, {})
    encoder(block).sum().backward()
    forget_gradients(held)
    optimizer.step()
    after = tables.rows_of("item")
    assert torch.equal(after[6:], before[6:])
    assert not torch.equal(after[2], before[2])


def test_shared_tables_have_the_same_rows_of_groups() -> None:
    lender = told(EmbeddingTables(schema(), 2, 1.0))
    borrower = told(BorrowedTables(schema(), 2, 1.0, lender, ["brand"]))  # type: ignore[assignment]
    borrower.eval()
    rows = lender.rows_of("item")
    torch.testing.assert_close(rows[6], (rows[2] + rows[3]) / 2)
    assert torch.equal(borrower.rows_of("item"), rows)
    both = torch.nn.ModuleList([lender, borrower])
    assert sum(int(held.sum()) for _, held in held_rows(both)) == 3


def test_divided_tables_refuse_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ShardedTables, "_allocate", lambda *_: None)
    with pytest.raises(ConfigError, match="no rows of groups"):
        ShardedTables(schema(), 4, 1.0, "row_wise")


def test_frozen_rows_are_held_too() -> None:
    tables = EmbeddingTables(schema(), 2, 1.0)
    tables.freeze("shop", torch.tensor([2]))
    (held,) = held_rows(tables)
    assert held[1].nonzero().flatten().tolist() == [9 + 2]  # no groups were told
