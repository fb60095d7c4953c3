"""Groups of rows with and without a key."""

import torch

from distill.ops.keys import apart, first_equal
from tests.no_sync import waits


def test_rows_without_a_key_have_groups_of_their_own() -> None:
    keys = torch.tensor([7, -1, 7, -1, -1, 3])
    instead = torch.tensor([7, 3, 9, 3, 7, 1])
    found = apart(keys, keys == -1, instead)
    same = found[:, None] == found[None, :]
    pairs = {(i, j) for i, j in same.nonzero().tolist() if i < j}
    assert pairs == {(0, 2), (1, 3)}


def test_keys_that_are_all_there_stay() -> None:
    keys = torch.tensor([7, -1])
    assert torch.equal(apart(keys, torch.zeros(2, dtype=torch.bool), keys), keys)


def test_the_first_row_of_a_key() -> None:
    keys = torch.tensor([7, -1, 9, 7, -1, 9, 7])
    with waits() as found:
        first = first_equal(keys, keys == -1)
    assert found == []
    assert first.tolist() == [0, 1, 2, 0, 4, 2, 0]
    assert first_equal(keys[:0], keys[:0] == 0).tolist() == []
