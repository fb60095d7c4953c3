import numpy as np
import pytest
import torch
from scipy.special import expit, rel_entr

from distill.losses.functional.delta_ndcg import DeltaNDCG
from distill.losses.functional.pairwise import contrastive, hinge, logistic, margin_mse, ordered_sums, pair_kl
from distill.ops import pairs
from distill.ops.pairs import pair_blocks

INDEX = torch.tensor([0, 0, 0, 1, 3, 3])
COUNTS = torch.tensor([3, 1, 0, 2, 0])
PAIRS = [(0, 1), (0, 2), (1, 2), (4, 5)]


@pytest.fixture
def pair(generator):
    return (2 * torch.randn(2, 6, dtype=torch.float64, generator=generator)).unbind()


def _pairs(blocks):
    """The pairs of blocks, and how many numbers the blocks hold."""
    found, held = [], 0
    for block in blocks:
        shape = (block.segment.shape[0], block.first.shape[1], block.second.shape[1])
        taken = torch.ones(shape, dtype=torch.bool) if block.taken is None else block.taken
        for g, i, j in taken.nonzero().tolist():
            found.append((int(block.segment[g]), int(block.first[g, i]), int(block.second[g, j])))
        held = max(held, taken.numel())
    return found, held


@pytest.mark.parametrize("area", [1, 7, 60, 1 << 18])
@pytest.mark.parametrize("counts", [[3, 1, 0, 2, 0], [], [0], [1], [2], [0, 4, 0, 3], [50, 2, 33, 7, 40, 1]])
def test_every_pair_of_a_segment_once(counts, area, monkeypatch):
    monkeypatch.setattr(pairs, "BLOCK_PAIRS", area)
    starts = np.cumsum([0, *counts])
    both = [
        (r, s + i, s + j)
        for r, (s, n) in enumerate(zip(starts, counts, strict=False))
        for i in range(n)
        for j in range(n)
    ]
    both = [pair for pair in both if counts[pair[0]] > 1]
    found, held = _pairs(pair_blocks(torch.tensor(counts, dtype=torch.int64), each_once=True))
    assert sorted(found) == [pair for pair in both if pair[1] < pair[2]]
    assert held <= max(area, max(counts, default=0))
    found, held = _pairs(pair_blocks(torch.tensor(counts, dtype=torch.int64)))
    assert sorted(found) == both
    assert held <= max(area, max(counts, default=0))


@pytest.mark.parametrize("area", [1, 30, 1 << 18])
def test_pairs_of_some_rows_with_others(area, monkeypatch, generator):
    monkeypatch.setattr(pairs, "BLOCK_PAIRS", area)
    counts = torch.tensor([9, 0, 1, 20, 5])
    segment = torch.arange(5).repeat_interleave(counts).tolist()
    first, second = (torch.rand(2, 35, generator=generator) < 0.4).unbind()
    expected = [
        (segment[i], i, j) for i in range(35) for j in range(35) if segment[i] == segment[j] and first[i] and second[j]
    ]
    found, _ = _pairs(pair_blocks(counts, first, second))
    assert sorted(found) == sorted(pair for pair in expected if pair[0] != 2)


@pytest.mark.parametrize("area", [1, 1 << 18])
def test_pairs_in_order_leave_out_ties_and_small_margins(area, monkeypatch, pair):
    monkeypatch.setattr(pairs, "BLOCK_PAIRS", area)
    target = torch.tensor([1.0, 3.0, 1.0, 9.0, 2.0, 2.5]).double()
    student = pair[0].clone().requires_grad_()
    for margin, kept in ((0.0, [(1, 0), (1, 2), (5, 4)]), (0.5, [(1, 0), (1, 2)]), (2.0, [])):
        sums, amount = ordered_sums(student, target, INDEX, COUNTS, logistic, min_margin=margin)
        expected, slope = np.zeros(5), np.zeros(6)
        for b, w in kept:
            d = float(pair[0][b] - pair[0][w])
            expected[INDEX[b]] += np.log1p(np.exp(-d))
            slope[b] -= (2.0, 0, 0, 3.0, 0)[INDEX[b]] * expit(-d)
            slope[w] += (2.0, 0, 0, 3.0, 0)[INDEX[b]] * expit(-d)
        np.testing.assert_allclose(sums.detach().numpy(), expected, rtol=1e-12)
        assert amount.tolist() == [sum(INDEX[b] == r for b, _ in kept) for r in range(5)]
        assert not amount.requires_grad
        (gradient,) = torch.autograd.grad(sums, student, torch.tensor([2.0, 1.0, 1.0, 3.0, 1.0]).double())
        np.testing.assert_allclose(gradient.numpy(), slope, rtol=1e-12, atol=1e-15)


def test_weights_of_pairs_get_no_gradient_and_nothing_is_kept_for_values_alone(pair):
    target = torch.tensor([1.0, 3.0, 1.0, 9.0, 2.0, 2.5]).double()
    weight = torch.tensor(3.0, dtype=torch.float64, requires_grad=True)

    def importance(block):
        return weight * block.of_first(target) * torch.ones_like(block.difference(target))

    sums, amount = ordered_sums(pair[0], target, INDEX, COUNTS, lambda d: hinge(d, 10.0), importance)
    assert not sums.requires_grad
    s = pair[0].numpy()
    expected = [9 * (20 - 2 * s[1] + s[0] + s[2]), 0, 0, 7.5 * (10 - s[5] + s[4]), 0]
    np.testing.assert_allclose(sums.numpy(), expected, rtol=1e-12)
    assert amount.tolist() == [18.0, 0.0, 0.0, 7.5, 0.0]


@pytest.mark.parametrize("temperature", [1.0, 4.0, 16.0])
def test_pair_kl_equals_scipy(pair, temperature):
    student, teacher = (x.numpy() for x in pair)
    expected = np.zeros(5)
    for i, j in PAIRS:
        p, q = (expit((x[i] - x[j]) / temperature) for x in (teacher, student))
        expected[INDEX[i]] += temperature**2 * (rel_entr(p, q) + rel_entr(1 - p, 1 - q))
    own = pair[0].clone().requires_grad_()
    sums, number = pair_kl(own, pair[1], INDEX, COUNTS, temperature)
    assert torch.autograd.gradcheck(lambda s: pair_kl(s, pair[1], INDEX, COUNTS, temperature)[0], own)
    sums = sums.detach()
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
    own = pair[0].clone().requires_grad_()
    sums, number = contrastive(own, labels, INDEX, COUNTS, margin)
    assert torch.autograd.gradcheck(lambda s: contrastive(s, labels, INDEX, COUNTS, margin)[0], own)
    sums = sums.detach()
    np.testing.assert_allclose(sums.numpy(), expected, rtol=1e-9)
    assert number.tolist() == [3, 0, 0, 1, 0]


@pytest.mark.parametrize("normalise", [True, False])
def test_delta_ndcg_is_what_a_swap_changes(normalise):
    labels, rank = np.array([2, 0, 1, 3]), np.array([3, 0, 1, 2])

    def dcg(places):
        return ((2.0**labels - 1) / np.log2(places + 2)).sum()

    ideal = dcg(np.argsort(np.argsort(-labels))) if normalise else 1.0
    gain = torch.tensor(2.0**labels - 1)
    change = DeltaNDCG.of(gain, torch.tensor(rank), torch.zeros(4, dtype=torch.int64), 1, normalise)
    (block,) = pair_blocks(torch.tensor([4]))
    found = change(block)[0]
    for i in range(4):
        for j in range(4):
            swapped = rank.copy()
            swapped[[i, j]] = rank[[j, i]]
            np.testing.assert_allclose(found[i, j], abs(dcg(swapped) - dcg(rank)) / ideal, rtol=1e-12, atol=1e-15)
    nothing = DeltaNDCG.of(torch.zeros(2), torch.tensor([0, 1]), torch.tensor([0, 0]), 1, normalise)
    assert nothing.inverse.tolist() == [0.0 if normalise else 1.0]
