"""Equal rows are found, and only they."""

from __future__ import annotations

import torch

from distill.batch import FeatureBlock, Ragged
from distill.features import distinct_rows
from distill.schema import Side
from tests.batches import make_block, make_schema


def _block() -> FeatureBlock:
    return make_block(make_schema().side(Side.CANDIDATE), 40, torch.Generator().manual_seed(0))


def test_every_row_equals_the_row_it_went_to() -> None:
    rows = torch.randint(0, 40, (300,), generator=torch.Generator().manual_seed(1))
    block = _block().select(rows)
    distinct, where = distinct_rows(block)
    assert distinct.num_rows == rows.unique().numel()
    again = distinct.select(where)
    assert torch.equal(again.ids, block.ids)
    assert torch.equal(again.numbers, block.numbers)
    assert torch.equal(again.vectors["image"], block.vectors["image"])


def test_rows_that_differ_in_one_place_stay_apart() -> None:
    ids = torch.zeros(1000, 3, dtype=torch.int64)
    ids[:, 1] = torch.arange(1000)
    assert distinct_rows(FeatureBlock(ids, torch.zeros(1000, 0), {}, {}))[0].num_rows == 1000
    swapped = torch.tensor([[1, 2, 0], [2, 1, 0], [0, 1, 2], [1, 2, 0]])
    assert distinct_rows(FeatureBlock(swapped, torch.zeros(4, 0), {}, {}))[0].num_rows == 3
    numbers = torch.tensor([[0.0], [1e-7], [0.0]])
    assert distinct_rows(FeatureBlock(ids[:3] * 0, numbers, {}, {}))[0].num_rows == 2


def test_sequences_count_with_their_order_and_length() -> None:
    lists = [[1, 2], [2, 1], [1, 2], [], [0], [0, 0], [1], [2]]
    ragged = Ragged(torch.tensor([v for values in lists for v in values]), torch.tensor([len(v) for v in lists]))
    block = FeatureBlock(torch.zeros(8, 0, dtype=torch.int64), torch.zeros(8, 0), {}, {"tags": ragged})
    distinct, where = distinct_rows(block)
    assert distinct.num_rows == 7
    assert where[0] == where[2]
