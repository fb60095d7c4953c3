"""Views of items: which fields go together, what is masked, and what is dropped."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from distill.batch import FeatureBlock, Ragged
from distill.losses import item_views
from distill.losses.item_views import (
    correlated_halves,
    field_codes,
    num_fields,
    with_dropout,
    without_fields,
)


def block() -> FeatureBlock:
    """Two rows of two ids, two numbers, a vector and a sequence: six fields."""
    return FeatureBlock(
        ids=torch.tensor([[3, 4], [5, 6]]),
        numbers=torch.tensor([[0.5, -1.0], [2.0, 3.0]]),
        vectors={"image": torch.tensor([[1.0, 2.0], [3.0, 4.0]])},
        sequences={"words": Ragged(torch.tensor([7, 8, 9]), torch.tensor([2, 1]))},
    )


def missing() -> FeatureBlock:
    return FeatureBlock(
        ids=torch.zeros(1, 2, dtype=torch.int64),
        numbers=torch.tensor([[-0.25, 0.75]]),
        vectors={"image": torch.zeros(1, 2)},
        sequences={"words": Ragged(torch.zeros(0, dtype=torch.int64), torch.zeros(1, dtype=torch.int64))},
    )


def test_masked_fields_are_missing_and_the_others_stay():
    lost = [True, False, False, True, False, True]
    view = without_fields(block(), lost, missing())
    assert view.ids.tolist() == [[0, 4], [0, 6]]
    assert view.numbers.tolist() == [[0.5, 0.75], [2.0, 0.75]]
    assert torch.equal(view.vectors["image"], block().vectors["image"])
    assert view.sequences["words"].values.numel() == 0
    assert view.sequences["words"].lengths.tolist() == [0, 0]
    other = without_fields(block(), [not one for one in lost], missing())
    assert other.ids.tolist() == [[3, 0], [5, 0]]
    assert other.numbers.tolist() == [[-0.25, -1.0], [-0.25, 3.0]]
    assert other.vectors["image"].tolist() == [[0.0, 0.0], [0.0, 0.0]]
    assert other.sequences["words"].values.tolist() == [7, 8, 9]
    joined = view.joined(other)
    assert joined.num_rows == 4
    assert joined.sequences["words"].lengths.tolist() == [0, 0, 2, 1]


def correlated_items(rows: int = 4000) -> FeatureBlock:
    """Pairs that tell of each other: id 0 and number 0, id 1 and the sequence, number 1 and the vector."""
    rng = np.random.default_rng(0)
    first, second, third = rng.integers(0, 6, rows), rng.integers(0, 6, rows), rng.normal(size=rows)
    return FeatureBlock(
        ids=torch.tensor(np.stack([first, second], 1)),
        numbers=torch.tensor(np.stack([first * 2.0, third], 1), dtype=torch.float32),
        vectors={"image": torch.tensor(np.stack([third, -third], 1), dtype=torch.float32)},
        sequences={"words": Ragged(torch.tensor(second).repeat_interleave(2), torch.full((rows,), 2))},
    )


def test_correlated_fields_go_together():
    items = correlated_items()
    assert num_fields(items) == 6
    halves = correlated_halves(items)
    assert halves.sum(1).tolist() == [3] * 6
    for a, b in ((0, 2), (1, 5), (3, 4)):
        for field, partner in ((a, b), (b, a)):
            assert halves[field, field]
            assert halves[field, partner]


@pytest.mark.parametrize(("columns", "size"), [(2, 1), (3, 1), (5, 2)])
def test_half_of_an_odd_number_of_fields_is_the_smaller_half(columns, size):
    items = FeatureBlock(torch.randint(0, 9, (30, columns)), torch.zeros(30, 0), {}, {})
    halves = correlated_halves(items)
    assert halves.sum(1).tolist() == [size] * columns
    assert halves.diagonal().all()


def test_codes_of_each_kind():
    rows = 320
    numbers = torch.arange(rows).float().flip(0).view(-1, 1)
    words = Ragged(torch.tensor([4, 4, 2, 2, 4, 9]), torch.tensor([1, 3, 2] + [0] * (rows - 3)))
    vectors = torch.tensor([[1.0, 0.0], [-1.0, 0.0]]).repeat(rows // 2, 1)
    codes = field_codes(FeatureBlock(torch.arange(rows).view(-1, 1), numbers, {"v": vectors}, {"w": words}))
    assert codes[:, 0].tolist() == list(range(rows))
    assert codes[:, 1].bincount().tolist() == [rows // 16] * 16 or codes[:, 1].bincount().max() <= rows // 16 + 1
    assert (codes[:, 1].diff() <= 0).all()
    assert codes[::2, 2].unique().numel() == codes[1::2, 2].unique().numel() == 1
    assert codes[0, 2] != codes[1, 2]
    assert codes[0, 3] == 4
    assert codes[1, 3] in (2, 4)
    assert codes[2, 3] in (4, 9)
    assert codes[3:, 3].eq(-1).all()
    constant = FeatureBlock(torch.zeros(4, 1, dtype=torch.int64), torch.ones(4, 1), {"v": torch.ones(4, 3)}, {})
    assert field_codes(constant).unique(dim=0).shape[0] == 1


def long_block(rows: int = 400) -> FeatureBlock:
    lengths = torch.arange(rows) % 7
    words = Ragged(torch.arange(1, int(lengths.sum()) + 1), lengths)
    return FeatureBlock(torch.ones(rows, 3, dtype=torch.int64), torch.zeros(rows, 0), {}, {"words": words})


def test_dropout_leaves_out_a_share_of_values_and_ids():
    whole, none = long_block(), replace(missing(), ids=torch.zeros(1, 3, dtype=torch.int64))
    keys = torch.arange(400) * 17
    view = with_dropout(whole, none, 0.25, 0.1, keys, (0, 5))
    words = view.sequences["words"]
    before = whole.sequences["words"]
    assert int(words.lengths.sum()) == words.values.numel()
    assert (words.lengths <= before.lengths).all()
    assert words.values.numel() / before.values.numel() == pytest.approx(0.75, abs=0.05)
    row = torch.repeat_interleave(torch.arange(400), before.lengths)[words.values - 1]
    assert torch.equal(row.bincount(minlength=400), words.lengths)  # values stay in their row, in order
    assert (words.values.diff() > 0).all()
    assert view.ids.eq(0).float().mean().item() == pytest.approx(0.1, abs=0.04)
    assert not torch.equal(view.ids[:, 0], view.ids[:, 1])
    same = with_dropout(whole, none, 0.25, 0.1, keys, (0, 5))
    other = with_dropout(whole, none, 0.25, 0.1, keys, (0, 6))
    assert torch.equal(same.sequences["words"].values, words.values)
    assert not torch.equal(other.ids, view.ids)
    assert with_dropout(whole, none, 0.0, 0.0, keys, (0, 5)).sequences["words"] is before


def test_dropout_of_a_row_does_not_depend_on_the_others():
    whole, none = long_block(), replace(missing(), ids=torch.zeros(1, 3, dtype=torch.int64))
    keys, some = torch.arange(400) * 17, torch.tensor([390, 3, 20])
    view = with_dropout(whole, none, 0.5, 0.5, keys, (1,)).select(some)
    alone = with_dropout(whole.select(some), none, 0.5, 0.5, keys[some], (1,))
    assert torch.equal(view.ids, alone.ids)
    assert torch.equal(view.sequences["words"].values, alone.sequences["words"].values)
    assert view.sequences["words"].lengths.tolist() == alone.sequences["words"].lengths.tolist()


def test_planes_go_through_the_mean_so_that_a_shift_changes_no_code():
    """Of vectors far from 0, planes through 0 would have all of them on one side."""
    vectors = torch.randn(500, 3, generator=torch.Generator().manual_seed(1))
    near, far = (
        field_codes(FeatureBlock(torch.zeros(500, 0, dtype=torch.int64), torch.zeros(500, 0), {"v": v}, {}))[:, 0]
        for v in (vectors, vectors + 64.0)
    )
    assert near.unique().numel() > 8
    assert (near == far).float().mean() > 0.99


def test_of_many_items_some_from_everywhere_are_counted(monkeypatch):
    """The fields are correlated in the last half of the items alone, which the first of them do not show."""
    monkeypatch.setattr(item_views, "_MOST_ROWS", 1000)
    first = torch.arange(3000) % 7
    second = torch.cat([torch.zeros(1500, dtype=torch.int64), first[1500:]])
    noise = torch.randint(0, 7, (2, 3000), generator=torch.Generator().manual_seed(0))
    halves = correlated_halves(FeatureBlock(torch.stack([first, second, *noise], 1), torch.zeros(3000, 0), {}, {}))
    assert halves[0].tolist() == [True, True, False, False]
    seen = []
    monkeypatch.setattr(item_views, "field_codes", lambda block: seen.append(block.ids[:, 0]) or field_codes(block))
    numbered = torch.arange(3000).view(-1, 1).expand(-1, 2).contiguous()
    correlated_halves(FeatureBlock(numbered, torch.zeros(3000, 0), {}, {}))
    assert torch.equal(seen[0], torch.arange(1000) * 3)
