from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import kendalltau

from distill.metrics.functional import kendall
from distill.metrics.functional.kendall import count_pairs


@pytest.mark.parametrize("levels", [3, 1000])
def test_tau_b_agrees_with_scipy_per_request(levels: int) -> None:
    generator = torch.Generator().manual_seed(levels)
    sizes = torch.tensor([2, 7, 64, 65, 100])
    index = torch.arange(5).repeat_interleave(sizes)
    student = torch.randint(0, levels, (int(sizes.sum()),), generator=generator).float()
    teacher = torch.randint(0, levels, (int(sizes.sum()),), generator=generator).double()
    found = count_pairs(student, teacher, index, 5).tau_b().values
    for request, value in enumerate(found.tolist()):
        rows = index == request
        expected = kendalltau(student[rows], teacher[rows]).statistic
        assert value == pytest.approx(expected, abs=1e-12, nan_ok=True)


@given(rows=st.lists(st.tuples(st.integers(0, 1), st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=25))
def test_pair_counts_agree_with_a_loop_over_pairs(rows: list[tuple[int, int, int]]) -> None:
    rows = sorted(rows, key=lambda row: row[0])
    index, student, teacher = torch.tensor(rows).unbind(1)
    counts = count_pairs(student.float(), teacher.float(), index, 2)
    for request in range(2):
        pairs = list(itertools.combinations([row for row in rows if row[0] == request], 2))
        wrong = sum((a[1] - b[1]) * (a[2] - b[2]) < 0 for a, b in pairs)
        ties = sum(a[1] == b[1] and a[2] != b[2] for a, b in pairs)
        ordered = sum(a[2] != b[2] for a, b in pairs)
        assert float(counts.pairs[request]) == len(pairs)
        assert float(counts.discordant[request]) == wrong
        assert float(counts.both_ties[request]) == sum(a[1:] == b[1:] for a, b in pairs)
        rate = counts.inversion_rate()
        assert bool(rate.used[request]) == (ordered > 0)
        if ordered:
            assert float(rate.values[request]) == (wrong + ties / 2) / ordered


def test_a_student_without_order_inverts_half_and_has_no_tau() -> None:
    counts = count_pairs(torch.zeros(5), torch.arange(5.0), torch.zeros(5, dtype=torch.int64), 1)
    assert float(counts.inversion_rate().mean()) == 0.5
    assert math.isnan(float(counts.tau_b().mean()))


def test_reversed_order_single_candidates_and_nothing() -> None:
    scores = torch.arange(6.0)
    counts = count_pairs(scores, -scores, torch.tensor([0, 0, 0, 0, 0, 2]), 3)
    assert counts.tau_b().used.tolist() == [True, False, False]
    assert float(counts.tau_b().mean()) == -1.0
    assert float(counts.inversion_rate().mean()) == 1.0
    empty = torch.empty(0)
    assert count_pairs(empty, empty, torch.empty(0, dtype=torch.int64), 0).pairs.shape == (0,)


def test_a_request_that_either_order_ties_whole_is_not_used() -> None:
    index = torch.arange(3).repeat_interleave(3)
    student = torch.tensor([0.0, 0, 0, 1, 2, 3, 3, 1, 2])
    reference = torch.tensor([1.0, 2, 3, 0, 0, 0, 3, 1, 2])
    tau = count_pairs(student, reference, index, 3).tau_b()
    assert tau.used.tolist() == [False, False, True]
    assert float(tau.mean()) == 1.0


def test_ranks_too_long_for_one_integer_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    draw = torch.Generator().manual_seed(0)
    student, reference = torch.randn(2, 300, generator=draw).round(decimals=1)
    index = torch.randint(0, 5, (300,), generator=draw).sort().values
    expected = count_pairs(student, reference, index, 6)
    monkeypatch.setattr(kendall, "KEY_BITS", 0)
    found = count_pairs(student, reference, index, 6)
    assert all(torch.equal(getattr(found, name), getattr(expected, name)) for name in vars(found))
    assert float(expected.both_ties.sum()) > 0
