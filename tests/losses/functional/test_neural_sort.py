"""The relaxed order against whole matrices, in value and gradient."""

import pytest
import torch

from distill.losses.functional.neural_sort import distance_sums, order_surprise, relaxed_top_k

COUNTS = torch.tensor([3, 1, 0, 7, 40])
INDEX = torch.arange(5).repeat_interleave(COUNTS)


def _matrix(scores, temperature):
    """P̂ of Grover et al. 2019, eq. 5, with τ = n T."""
    n = len(scores)
    far = (scores[:, None] - scores[None]).abs().sum(1)
    slope = n + 1 - 2 * torch.arange(1, n + 1, dtype=scores.dtype)
    return torch.softmax((slope[:, None] * scores[None] - far[None]) / (n * temperature), 1)


def _by_list(*values):
    return [tuple(v[r == INDEX] for v in values) for r in range(5) if COUNTS[r]]


@pytest.fixture
def scores(generator):
    return (2 * torch.randn(51, dtype=torch.float64, generator=generator)).requires_grad_()


def _agree(found, expected, scores, generator):
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)
    pull = torch.randn(found.shape, dtype=found.dtype, generator=generator)
    gradients = [torch.autograd.grad((v * pull).sum(), scores)[0] for v in (found, expected)]
    torch.testing.assert_close(*gradients, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("top", [1, 2, 5])
@pytest.mark.parametrize("normalise", [True, False])
@pytest.mark.parametrize("part", [0, 1])
def test_share_of_the_first_places_and_of_the_others(part, top, normalise, scores, generator):
    found = relaxed_top_k(scores, INDEX, COUNTS, top, 0.7, normalise)[part]
    matrices = [_matrix(own, 0.7) for (own,) in _by_list(scores)]
    below = [p.detach().sum(0) if normalise else torch.full((len(p),), float(top)) for p in matrices]
    places = slice(None, top) if part == 0 else slice(top, None)
    expected = torch.cat([p[places].sum(0) / b for p, b in zip(matrices, below, strict=True)])
    _agree(found, expected, scores, generator)


def test_surprise_of_another_order(scores, generator):
    others = torch.randn(51, generator=generator)
    found, number = order_surprise(scores, others, INDEX, COUNTS, 0.7)
    expected = torch.zeros(5, dtype=torch.float64)
    for r, (own, other) in zip([0, 1, 3, 4], _by_list(scores, others), strict=True):
        order = torch.argsort(-other)
        expected = expected.index_add(
            0, torch.tensor([r]), -_matrix(own, 0.7)[torch.arange(len(own)), order].log().sum().view(1)
        )
    _agree(found, expected, scores, generator)
    assert number.tolist() == [3, 0, 0, 7, 40]


def test_sums_of_distances(scores, generator):
    expected = torch.cat([(own[:, None] - own[None]).abs().sum(1) for (own,) in _by_list(scores)])
    _agree(distance_sums(scores, INDEX, COUNTS), expected, scores, generator)


def test_a_cold_order_is_the_order_itself():
    scores = torch.tensor([0.3, -1.0, 2.0, 0.9])
    first, others = relaxed_top_k(scores, torch.zeros(4, dtype=torch.int64), torch.tensor([4]), 2, 0.01)
    torch.testing.assert_close(first, torch.tensor([0.0, 0.0, 1.0, 1.0]))
    torch.testing.assert_close(others, torch.tensor([1.0, 1.0, 0.0, 0.0]))


def test_a_long_list_goes_block_by_block(generator):
    """2,000 rows have 4 million pairs, and a block some 262,000."""
    scores = torch.randn(2_000, dtype=torch.float64, generator=generator)
    found, _ = relaxed_top_k(scores, torch.zeros(2_000, dtype=torch.int64), torch.tensor([2_000]), 100, 0.5)
    matrix = _matrix(scores, 0.5)
    torch.testing.assert_close(found, matrix[:100].sum(0) / matrix.sum(0), rtol=1e-9, atol=1e-12)
