from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import ndcg_score

from distill.errors import DataError
from distill.metrics.functional.ndcg import ndcg_per_request
from distill.metrics.functional.ties import tied_ranks


def test_by_hand() -> None:
    ranks = tied_ranks(torch.tensor([3.0, 2.0, 1.0]), torch.zeros(3, dtype=torch.int64), 1)
    result = ndcg_per_request(ranks, torch.tensor([0.0, 2.0, 1.0]), 2)
    assert float(result.mean()) == pytest.approx((3 / math.log2(3)) / (3 + 1 / math.log2(3)))


@pytest.mark.parametrize("k", [1, 3, 8, 1000])
def test_agrees_with_sklearn(k: int) -> None:
    rng = np.random.default_rng(0)
    labels, scores = rng.integers(0, 4, (20, 8)), rng.integers(0, 5, (20, 8))
    labels[:, 0] = 1
    expected = ndcg_score(2.0**labels - 1, scores, k=k)
    index = torch.arange(20).repeat_interleave(8)
    ranks = tied_ranks(torch.from_numpy(scores.reshape(-1)).float(), index, 20)
    found = ndcg_per_request(ranks, torch.from_numpy(labels.reshape(-1)), k)
    assert float(found.mean()) == pytest.approx(expected, rel=1e-9)


@given(rows=st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=1, max_size=6), k=st.integers(1, 7))
def test_is_the_mean_over_all_ways_to_break_ties(rows: list[tuple[int, int]], k: int) -> None:
    n = len(rows)
    gains = [2.0**label - 1 for _, label in rows]

    def dcg(order: tuple[int, ...]) -> float:
        return sum(gains[i] / math.log2(2 + rank) for rank, i in enumerate(order[:k]))

    orders = list(itertools.permutations(range(n)))
    best = max(dcg(order) for order in orders)
    allowed = [order for order in orders if all(rows[a][0] >= rows[b][0] for a, b in itertools.pairwise(order))]
    ranks = tied_ranks(torch.tensor([float(score) for score, _ in rows]), torch.zeros(n, dtype=torch.int64), 1)
    result = ndcg_per_request(ranks, torch.tensor([label for _, label in rows]), k)
    assert result.num_used == (best > 0)
    if best:
        assert float(result.mean()) == pytest.approx(sum(dcg(order) for order in allowed) / len(allowed) / best)


def test_requests_without_gain_are_skipped() -> None:
    ranks = tied_ranks(torch.tensor([1.0, 0.0, 1.0]), torch.tensor([0, 0, 2]), 3)
    result = ndcg_per_request(ranks, torch.tensor([1.0, 0.0, 0.0]), 1)
    assert result.used.tolist() == [True, False, False]
    assert float(result.mean()) == 1.0


def test_labels_must_be_grades() -> None:
    ranks = tied_ranks(torch.zeros(2), torch.zeros(2, dtype=torch.int64), 1)
    for wrong in (-1.0, 51.0, math.nan):
        with pytest.raises(DataError, match="not grades"):
            ndcg_per_request(ranks, torch.tensor([1.0, wrong]), 1)


def test_the_largest_grade_is_taken() -> None:
    ranks = tied_ranks(torch.tensor([2.0, 1.0]), torch.zeros(2, dtype=torch.int64), 1)
    gains = [2.0**49 - 1, 2.0**50 - 1]
    expected = (gains[0] + gains[1] / math.log2(3)) / (gains[1] + gains[0] / math.log2(3))
    assert float(ndcg_per_request(ranks, torch.tensor([49.0, 50.0]), 2).mean()) == pytest.approx(expected, rel=1e-12)
