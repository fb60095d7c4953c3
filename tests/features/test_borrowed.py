"""Tables that two models share."""

from __future__ import annotations

import pytest
import torch

from distill.errors import ConfigError
from distill.features import BorrowedTables, EmbeddingTables, TableSharing
from tests.batches import make_schema

FULL = make_schema()
SERVING = FULL.serving_view()


def _pair(*own: str) -> tuple[EmbeddingTables, BorrowedTables]:
    torch.manual_seed(0)
    lender = EmbeddingTables(SERVING, 4)
    return lender, BorrowedTables(FULL, 4, 0.05, lender, own)


def test_a_shared_table_has_the_lenders_rows_and_both_gradients() -> None:
    torch.manual_seed(0)
    alone = EmbeddingTables(SERVING, 4)
    lender, borrower = _pair()
    item, secret = FULL.field("item"), FULL.field("secret")
    ids = torch.tensor([0, 7, 19])
    of_item = ids + borrower.offset(item)
    assert torch.equal(borrower.rows(4, of_item), alone.rows(4, ids + alone.offset(item)))
    assert torch.equal(lender.rows(4, ids + lender.offset(item)), borrower.rows(4, of_item))
    assert borrower.weights["4"] is lender.weights["4"]
    assert borrower.offset(secret) == 12 + 20  # behind all that the lender has
    loss = 2 * borrower.rows(4, of_item).sum() + 3 * lender.rows(4, ids + lender.offset(item)).sum()
    loss.backward()
    grad = lender.weights["4"].grad
    assert grad is not None
    assert torch.equal(grad.to_dense()[lender.offset(item) + 7], torch.full((4,), 5.0))


def test_listed_fields_have_rows_of_their_own() -> None:
    lender, borrower = _pair("item", "hour")
    assert borrower.offset(FULL.field("user")) == lender.offset(FULL.field("user"))
    for name in ("item", "hour", "history"):
        spec = FULL.field(name)
        width = borrower.width(spec)
        assert borrower.offset(spec) >= borrower.lent_rows(width)
        own = borrower.rows(width, torch.tensor([1 + borrower.offset(spec)]))
        lent = lender.rows(width, torch.tensor([1 + lender.offset(spec)]))
        assert not torch.equal(own, lent)


def test_the_layout_in_a_checkpoint_is_that_of_a_model_alone() -> None:
    lender, borrower = _pair("user")
    alone = EmbeddingTables(FULL, 4)
    for width in borrower.widths:
        joint = borrower.weights[str(width)].detach()
        own = borrower.own_layout(width, joint)
        assert own.shape == alone.weights[str(width)].shape
        for table, place in alone.places.items():
            if place.width == width:
                there = borrower.places[table]
                rows = joint[there.first : there.first + there.size]
                assert torch.equal(own[place.first : place.first + place.size], rows)
        assert torch.equal(borrower.joint_layout(width, joint[: borrower.lent_rows(width)], own), joint)
    assert lender.places == EmbeddingTables(SERVING, 4).places


def test_a_field_that_is_not_there_and_other_widths_are_refused() -> None:
    with pytest.raises(ConfigError, match="nobody"):
        _pair("nobody")
    lender = EmbeddingTables(SERVING, 8)
    with pytest.raises(ConfigError, match="width 8 of the student"):
        BorrowedTables(FULL, 4, 0.05, lender, ())
    BorrowedTables(FULL, 4, 0.05, EmbeddingTables(SERVING, 8), ("user", "item"))


def test_nothing_to_borrow_is_refused() -> None:
    with pytest.raises(ConfigError, match="no embedding tables to share"):
        TableSharing().borrow(())


def test_the_first_tables_of_each_model_are_shared() -> None:
    sharing = TableSharing()
    lent, not_lent = sharing.lend(SERVING, 4, 0.05), sharing.lend(SERVING, 4, 0.05)
    build = sharing.borrow(())
    borrowed, further = build(FULL, 4, 0.05), build(FULL, 4, 0.05)
    assert isinstance(borrowed, BorrowedTables)
    assert borrowed.weights["4"] is lent.weights["4"]
    assert type(further) is type(not_lent) is EmbeddingTables
