"""Search within long sequences against a loop over candidates, of sequences one after another and padded."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from distill.layers.sequence_search import Found, Keys, best_values
from distill.layers.target_attention import TargetAttention
from tests.layers.checking import rows
from tests.layers.test_padded import padded

LENGTHS = torch.tensor([4, 0, 1, 7])
INDEX = torch.tensor([0, 0, 1, 2, 3, 3, 3])
STARTS = [0, 4, 4, 5]
KEYS = torch.tensor([5, 6, 5, 5, 6, 6, 5, 6, 6, -1, 7, 6])
OWN = torch.tensor([5, 6, 5, 6, 6, 7, -1])


def _values() -> tuple[Tensor, Tensor]:
    return rows(7, 3), rows(12, 3, seed=1)


def _expected(query: Tensor, values: Tensor, top_k: int, hard: bool) -> list[set[tuple[float, ...]]]:
    """The values of each candidate that a loop finds."""
    found = []
    for candidate, request in enumerate(INDEX.tolist()):
        own = range(STARTS[request], STARTS[request] + int(LENGTHS[request]))
        if hard:
            chosen = [i for i in own if KEYS[i] == OWN[candidate] and KEYS[i] >= 0][-top_k:]
        else:
            score = {i: float(query[candidate] @ values[i]) for i in own}
            chosen = sorted(own, key=lambda i: -score[i])[:top_k]
        found.append({tuple(values[i].tolist()) for i in chosen})
    return found


def _sets(found: Found) -> list[set[tuple[float, ...]]]:
    if found.values.dim() == 3:
        parts = [row[:length] for row, length in zip(found.values, found.lengths.tolist(), strict=True)]
    else:
        parts = list(found.values.split(found.lengths.tolist()))
    return [{tuple(value) for value in part.tolist()} for part in parts]


def _keys(longest: int | None) -> Keys:
    return Keys(KEYS if longest is None else padded(KEYS, LENGTHS, longest), LENGTHS, OWN)


@pytest.mark.parametrize("hard", [False, True])
@pytest.mark.parametrize("top_k", [1, 2, 5, 20])
@pytest.mark.parametrize("longest", [None, 7, 9])
def test_the_values_that_a_loop_finds(top_k: int, hard: bool, longest: int | None) -> None:
    query, values = _values()
    given = values if longest is None else padded(values, LENGTHS, longest)
    found = best_values(query, given, LENGTHS, INDEX, top_k, _keys(longest) if hard else None)
    assert _sets(found) == _expected(query, values, top_k, hard)
    assert found.values.shape[1:] == ((3,) if longest is None else (top_k, 3))


@pytest.mark.parametrize("longest", [None, 7])
def test_attention_to_all_that_is_found_is_attention_to_all(longest: int | None) -> None:
    torch.manual_seed(0)
    query, values = _values()
    attention = TargetAttention(3, [4], "relu").double()
    given = values if longest is None else padded(values, LENGTHS, longest)
    expected = attention(query, given, LENGTHS, INDEX)
    found = best_values(query, given, LENGTHS, INDEX, 7, None)
    searched = attention(query, found.values, found.lengths, torch.arange(7))
    torch.testing.assert_close(searched.pooled, expected.pooled)
    torch.testing.assert_close(searched.zero_weight, expected.zero_weight)


def test_values_have_gradients_and_the_search_has_none() -> None:
    query, values = _values()
    query.requires_grad_(), values.requires_grad_()
    found = best_values(query, values, LENGTHS, INDEX, 1, None)
    found.values.sum().backward()
    assert query.grad is None
    assert values.grad is not None
    chosen = {tuple(value) for value in found.values.detach().tolist()}
    assert {tuple(v.tolist()) for v, g in zip(values.detach(), values.grad, strict=True) if bool(g.any())} == chosen


@pytest.mark.parametrize("hard", [False, True])
def test_without_candidates_or_values(hard: bool) -> None:
    none, index = torch.zeros(0, dtype=torch.int64), torch.tensor([0])
    keys = Keys(none, torch.tensor([0]), none) if hard else None
    found = best_values(rows(0, 3), rows(2, 3), torch.tensor([2]), none, 2, keys)
    assert (found.values.shape, found.lengths.shape) == ((0, 3), (0,))
    for values, of_values in ((rows(0, 3), none), (rows(0, 3).unsqueeze(0), none.unsqueeze(0))):
        keys = Keys(of_values, torch.tensor([0]), torch.tensor([5])) if hard else None
        assert best_values(rows(1, 3), values, torch.tensor([0]), index, 2, keys).lengths.tolist() == [0]


def test_values_beyond_the_end_of_their_keys_are_not_found() -> None:
    query, values = rows(1, 3), rows(3, 3, seed=1)
    short = Keys(torch.tensor([5]), torch.tensor([1]), torch.tensor([5]))
    index = torch.tensor([0])
    found = best_values(query, values, torch.tensor([3]), index, 3, short)
    torch.testing.assert_close(found.values, values[:1])
    wide = Keys(torch.tensor([[5, 5]]), torch.tensor([1]), torch.tensor([5]))
    assert best_values(query, values.unsqueeze(0), torch.tensor([3]), index, 3, wide).lengths.tolist() == [1]
