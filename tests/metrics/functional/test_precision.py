from __future__ import annotations

import itertools
import statistics
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, label_ranking_average_precision_score

from distill.errors import ConfigError
from distill.metrics.functional.precision import average_precision_per_request, reciprocal_rank_per_request
from distill.metrics.functional.reduce import PerRequest
from distill.metrics.functional.ties import TiedRanks, tied_ranks

Function = Callable[[TiedRanks, int], PerRequest]
BOTH = [reciprocal_rank_per_request, average_precision_per_request]
INDEX = torch.tensor([0, 0, 0, 0, 1, 1, 3])
SCORES = torch.tensor([4.0, 3.0, 2.0, 1.0, 0.0, 1.0, 0.0])
RELEVANT = torch.tensor([1, 3, 6])


def _of(scores: np.ndarray, labels: np.ndarray, function: Function, k: int) -> PerRequest:
    """Of requests as rows of `scores` and `labels`."""
    index = torch.arange(len(scores)).repeat_interleave(scores.shape[1])
    ranks = tied_ranks(torch.from_numpy(scores.reshape(-1)).float(), index, len(scores))
    (relevant,) = torch.from_numpy(labels.reshape(-1) > 0).nonzero(as_tuple=True)
    return function(ranks.select(relevant), k)


def test_by_hand() -> None:
    ranks = tied_ranks(SCORES, INDEX, 4).select(RELEVANT)
    first = reciprocal_rank_per_request(ranks, 4)
    assert first.used.tolist() == [True, False, False, True]
    assert first.values[first.used].tolist() == [0.5, 1.0]
    average = average_precision_per_request(ranks, 4)
    assert average.used.tolist() == [True, False, False, True]
    assert average.values[average.used].tolist() == pytest.approx([(1 / 2 + 2 / 4) / 2, 1.0])


def test_the_cutoff_by_hand() -> None:
    ranks = tied_ranks(SCORES, INDEX, 4).select(RELEVANT)
    assert float(reciprocal_rank_per_request(ranks, 1).values[0]) == 0.0
    assert float(average_precision_per_request(ranks, 1).values[0]) == 0.0
    assert float(average_precision_per_request(ranks, 3).values[0]) == pytest.approx((1 / 2) / 2)


def test_average_precision_agrees_with_sklearn() -> None:
    rng = np.random.default_rng(0)
    scores, labels = rng.normal(size=(30, 12)), rng.integers(0, 2, (30, 12))
    labels[:, 0] = 1
    expected = [average_precision_score(y, s) for y, s in zip(labels, scores, strict=True)]
    np.testing.assert_allclose(_of(scores, labels, average_precision_per_request, 12).values, expected, rtol=1e-12)


def test_reciprocal_rank_of_one_positive_agrees_with_sklearn() -> None:
    rng = np.random.default_rng(1)
    scores, labels = rng.normal(size=(30, 12)), np.eye(12)[rng.integers(0, 12, 30)]
    expected = label_ranking_average_precision_score(labels, scores)  # with one relevant label it is the MRR
    assert float(_of(scores, labels, reciprocal_rank_per_request, 12).mean()) == pytest.approx(expected, rel=1e-12)


def _reciprocal(labels: list[bool], k: int) -> float:
    return next((1 / rank for rank, relevant in enumerate(labels[:k], 1) if relevant), 0.0)


def _average(labels: list[bool], k: int) -> float:
    found = [sum(labels[:rank]) / rank for rank, relevant in enumerate(labels[:k], 1) if relevant]
    return sum(found) / min(sum(labels), k)


@given(rows=st.lists(st.tuples(st.integers(0, 2), st.booleans()), min_size=1, max_size=6), k=st.integers(1, 7))
def test_both_are_the_mean_over_all_ways_to_break_ties(rows: list[tuple[int, bool]], k: int) -> None:
    orders = [
        [relevant for _, relevant in order]
        for order in itertools.permutations(rows)
        if all(a[0] >= b[0] for a, b in itertools.pairwise(order))
    ]
    scores, labels = (np.array([column]) for column in zip(*rows, strict=True))
    for function, plain in zip(BOTH, (_reciprocal, _average), strict=True):
        result = _of(scores, labels, function, k)
        assert result.num_used == labels.any()
        if labels.any():
            assert float(result.mean()) == pytest.approx(statistics.fmean(plain(order, k) for order in orders))


@given(seed=st.integers(0, 1000), requests=st.integers(1, 5), k=st.integers(1, 9))
def test_requests_do_not_see_each_other(seed: int, requests: int, k: int) -> None:
    rng = np.random.default_rng(seed)
    scores, labels = rng.integers(0, 4, (requests, 7)), rng.integers(0, 2, (requests, 7))
    for function in BOTH:
        alone = [_of(scores[i : i + 1], labels[i : i + 1], function, k).values[0] for i in range(requests)]
        np.testing.assert_allclose(_of(scores, labels, function, k).values, alone, rtol=1e-12)


def test_one_long_tie_stays_exact() -> None:
    scores, labels = np.zeros((1, 5000)), np.zeros((1, 5000))
    labels[0, 7] = 1
    expected = float((1 / np.arange(1, 5001)).sum() / 5000)
    for function in BOTH:  # a single positive has the same value of both
        assert float(_of(scores, labels, function, 5000).mean()) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("function", BOTH)
def test_nothing_to_measure_gives_nan(function: Function) -> None:
    assert function(tied_ranks(torch.empty(0), torch.empty(0, dtype=torch.int64), 0), 3).mean().isnan()
    assert function(tied_ranks(SCORES, INDEX, 4).select(RELEVANT[:0]), 3).mean().isnan()
    with pytest.raises(ConfigError, match="k ≥ 1"):
        function(tied_ranks(SCORES, INDEX, 4), 0)
