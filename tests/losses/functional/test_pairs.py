import numpy as np
import pytest
import torch
from scipy.special import expit, rel_entr

from distill.losses.functional.delta_ndcg import delta_ndcg
from distill.losses.functional.pairwise import contrastive, margin_mse, ordered_pairs, pair_kl
from distill.ops.pairs import segment_pairs

INDEX = torch.tensor([0, 0, 0, 1, 3, 3])
COUNTS = torch.tensor([3, 1, 0, 2, 0])
PAIRS = [(0, 1), (0, 2), (1, 2), (4, 5)]


@pytest.fixture
def pair(generator):
    return (2 * torch.randn(2, 6, dtype=torch.float64, generator=generator)).unbind()


@pytest.mark.parametrize("counts", [[3, 1, 0, 2, 0], [], [0], [1], [2], [0, 4, 0, 3]])
def test_every_pair_of_a_segment_once(counts):
    starts = np.cumsum([0, *counts])
    expected = [(s + i, s + j) for s, n in zip(starts, counts, strict=False) for i in range(n) for j in range(i + 1, n)]
    first, second = segment_pairs(torch.tensor(counts, dtype=torch.int64))
    assert list(zip(first.tolist(), second.tolist(), strict=True)) == expected


def test_pairs_in_order_leave_out_ties_and_small_margins():
    target = torch.tensor([1.0, 3.0, 1.0, 9.0, 2.0, 2.5])
    found = {tuple(p) for p in torch.stack(ordered_pairs(target, COUNTS), 1).tolist()}
    assert found == {(1, 0), (1, 2), (5, 4)}
    assert torch.stack(ordered_pairs(target, COUNTS, 1.0), 1).tolist() == [[1, 0], [1, 2]]


@pytest.mark.parametrize("temperature", [1.0, 4.0, 16.0])
def test_pair_kl_equals_scipy(pair, temperature):
    student, teacher = (x.numpy() for x in pair)
    expected = np.zeros(5)
    for i, j in PAIRS:
        p, q = (expit((x[i] - x[j]) / temperature) for x in (teacher, student))
        expected[INDEX[i]] += temperature**2 * (rel_entr(p, q) + rel_entr(1 - p, 1 - q))
    sums, number = pair_kl(*pair, INDEX, COUNTS, temperature)
    np.testing.assert_allclose(sums.numpy(), expected, rtol=1e-9)
    assert number.tolist() == [3, 0, 0, 1, 0]


def test_margin_mse_equals_the_mean_over_pairs_and_ignores_a_shift(pair):
    student, teacher = (x.numpy() for x in pair)
    expected = np.zeros(5)
    for i, j in PAIRS:
        expected[INDEX[i]] += ((student[i] - student[j]) - (teacher[i] - teacher[j])) ** 2
    values = margin_mse(*pair, INDEX, COUNTS)
    np.testing.assert_allclose(values.numpy(), expected / [3, 1, 1, 1, 1], rtol=1e-9)
    shift = torch.tensor([5.0, 1.0, 0.0, -7.0, 0.0]).double()[INDEX]
    np.testing.assert_allclose(margin_mse(pair[1] + shift, pair[1], INDEX, COUNTS).numpy(), 0, atol=1e-25)


def test_contrastive_equals_its_formula(pair):
    labels, student, margin = torch.tensor([1.0, 0.0, 1.0, 1.0, 0.0, 1.0]).double(), pair[0].numpy(), 1.5
    expected = np.zeros(5)
    for i, j in PAIRS:
        d = student[i] - student[j]
        if labels[i] == labels[j]:
            expected[INDEX[i]] += 0.5 * d**2
        else:
            expected[INDEX[i]] += 0.5 * max(0.0, margin - (d if labels[i] > labels[j] else -d)) ** 2
    sums, number = contrastive(pair[0], labels, INDEX, COUNTS, margin)
    np.testing.assert_allclose(sums.numpy(), expected, rtol=1e-9)
    assert number.tolist() == [3, 0, 0, 1, 0]


@pytest.mark.parametrize("normalise", [True, False])
def test_delta_ndcg_is_what_a_swap_changes(normalise):
    labels, rank = np.array([2, 0, 1, 3]), np.array([3, 0, 1, 2])

    def dcg(places):
        return ((2.0**labels - 1) / np.log2(places + 2)).sum()

    ideal = dcg(np.argsort(np.argsort(-labels))) if normalise else 1.0
    better, worse = ordered_pairs(torch.tensor(labels), torch.tensor([4]))
    gain = torch.tensor(2.0**labels - 1)
    found = delta_ndcg(gain, torch.tensor(rank), better, worse, torch.zeros(4, dtype=torch.int64), 1, normalise)
    for value, i, j in zip(found.tolist(), better.tolist(), worse.tolist(), strict=True):
        swapped = rank.copy()
        swapped[[i, j]] = rank[[j, i]]
        np.testing.assert_allclose(value, abs(dcg(swapped) - dcg(rank)) / ideal, rtol=1e-12)
    assert len(found) == 6
