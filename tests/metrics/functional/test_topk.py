from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from distill.errors import ConfigError
from distill.metrics.functional.topk import topk_membership


def test_by_hand() -> None:
    scores = torch.tensor([3.0, 1.0, 1.0, 1.0, 0.0, 5.0])
    index = torch.tensor([0, 0, 0, 0, 0, 1])
    assert topk_membership(scores, index, 2, 2).tolist() == pytest.approx([1, 1 / 3, 1 / 3, 1 / 3, 0, 1])


@given(scores=st.lists(st.integers(0, 2), min_size=1, max_size=6), k=st.integers(1, 7))
def test_is_the_mean_over_all_ways_to_break_ties(scores: list[int], k: int) -> None:
    n = len(scores)
    orders = [
        p for p in itertools.permutations(range(n)) if all(scores[a] >= scores[b] for a, b in itertools.pairwise(p))
    ]
    expected = [sum(i in order[:k] for order in orders) / len(orders) for i in range(n)]
    found = topk_membership(torch.tensor(scores).float(), torch.zeros(n, dtype=torch.int64), 1, k)
    assert found.tolist() == pytest.approx(expected)
    assert float(found.sum()) == pytest.approx(min(k, n))


def test_cutoff_must_be_positive() -> None:
    with pytest.raises(ConfigError, match="not positive"):
        topk_membership(torch.zeros(1), torch.zeros(1, dtype=torch.int64), 1, 0)
