from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from distill.metrics.functional.recall import hit_rate_per_request, recall_per_request
from distill.metrics.functional.ties import tied_ranks

INDEX = torch.tensor([0, 0, 0, 0, 1, 1, 3])
SCORES = torch.tensor([4.0, 3.0, 2.0, 1.0, 0.0, 1.0, 0.0])
RELEVANT = torch.tensor([0, 2, 3, 6])


def test_recall_by_hand() -> None:
    result = recall_per_request(tied_ranks(SCORES, INDEX, 4).select(RELEVANT), 2)
    # request 0: one of min(3, 2); 1: nothing relevant; 2: empty; 3: the only candidate
    assert result.used.tolist() == [True, False, False, True]
    assert result.values[result.used].tolist() == [0.5, 1.0]
    assert float(result.mean()) == 0.75
    assert result.num_skipped == 2


def test_hit_rate_by_hand() -> None:
    result = hit_rate_per_request(tied_ranks(SCORES, INDEX, 4).select(RELEVANT), 2)
    assert result.values[result.used].tolist() == pytest.approx([1 / 3, 1.0])


@given(rows=st.lists(st.tuples(st.integers(0, 2), st.booleans()), min_size=1, max_size=6), k=st.integers(1, 7))
def test_recall_is_the_mean_over_all_ways_to_break_ties(rows: list[tuple[int, bool]], k: int) -> None:
    n, positives = len(rows), sum(relevant for _, relevant in rows)
    values = [
        sum(rows[i][1] for i in order[:k]) / min(positives, k) if positives else 0
        for order in itertools.permutations(range(n))
        if all(rows[a][0] >= rows[b][0] for a, b in itertools.pairwise(order))
    ]
    ranks = tied_ranks(torch.tensor([float(score) for score, _ in rows]), torch.zeros(n, dtype=torch.int64), 1)
    relevant = torch.tensor([i for i, (_, relevant) in enumerate(rows) if relevant], dtype=torch.int64)
    result = recall_per_request(ranks.select(relevant), k)
    assert result.num_used == (positives > 0)
    if positives:
        assert float(result.mean()) == pytest.approx(sum(values) / len(values))


def test_no_requests_and_no_positive_give_nan() -> None:
    empty = tied_ranks(torch.empty(0), torch.empty(0, dtype=torch.int64), 0)
    assert recall_per_request(empty, 3).mean().isnan()
    irrelevant = tied_ranks(SCORES, INDEX, 4).select(RELEVANT[:0])
    assert recall_per_request(irrelevant, 3).mean().isnan()
