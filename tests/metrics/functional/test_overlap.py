from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from distill.metrics.functional.overlap import overlap_per_request
from distill.metrics.functional.ties import tied_ranks


def _orders(scores: list[int]) -> list[tuple[int, ...]]:
    orders = itertools.permutations(range(len(scores)))
    return [order for order in orders if all(scores[a] >= scores[b] for a, b in itertools.pairwise(order))]


def test_by_hand() -> None:
    index = torch.tensor([0, 0, 0, 0, 1, 1, 1])
    student = tied_ranks(torch.tensor([4.0, 3.0, 2.0, 1.0, 3.0, 2.0, 1.0]), index, 2)
    teacher = tied_ranks(torch.tensor([1.0, 2.0, 3.0, 4.0, 3.0, 2.0, 1.0]), index, 2)
    # request 0: {0, 1, 2} ∩ {3, 2} = {2}: ½; request 1 has k candidates: not used
    result = overlap_per_request(student, teacher, k=3, m=2)
    assert result.used.tolist() == [True, False]
    assert float(result.mean()) == 0.5


def test_request_smaller_than_m_divides_by_its_size() -> None:
    index = torch.zeros(3, dtype=torch.int64)
    ranks = tied_ranks(torch.tensor([3.0, 2.0, 1.0]), index, 1)
    assert float(overlap_per_request(ranks, ranks, k=2, m=10).mean()) == pytest.approx(2 / 3)


@given(
    rows=st.lists(st.tuples(st.integers(0, 1), st.integers(0, 2)), min_size=2, max_size=5),
    k=st.integers(1, 5),
    m=st.integers(1, 6),
)
def test_is_the_mean_over_all_ways_to_break_ties(rows: list[tuple[int, int]], k: int, m: int) -> None:
    n = len(rows)
    student, teacher = [row[0] for row in rows], [row[1] for row in rows]
    values = [len(set(a[:k]) & set(b[:m])) / min(m, n) for a in _orders(student) for b in _orders(teacher)]
    index = torch.zeros(n, dtype=torch.int64)
    result = overlap_per_request(
        tied_ranks(torch.tensor(student).float(), index, 1), tied_ranks(torch.tensor(teacher).float(), index, 1), k, m
    )
    assert result.num_used == (n > k)
    if n > k:
        assert float(result.mean()) == pytest.approx(sum(values) / len(values))


def test_a_student_that_cannot_tell_candidates_apart_gets_what_chance_gives() -> None:
    index = torch.zeros(10, dtype=torch.int64)
    teacher = tied_ranks(torch.arange(10.0), index, 1)
    assert float(overlap_per_request(tied_ranks(torch.zeros(10), index, 1), teacher, 4, 3).mean()) == pytest.approx(0.4)


def test_only_trivial_requests_give_nan() -> None:
    ranks = tied_ranks(torch.tensor([0.0, 1.0]), torch.tensor([0, 1]), 2)
    result = overlap_per_request(ranks, ranks, 1, 1)
    assert result.mean().isnan()
    assert result.num_skipped == 2
