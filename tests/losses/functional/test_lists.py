import numpy as np
import pytest
import torch
from scipy.special import expit, logsumexp, softmax

from distill.losses.functional.listwise import jrc, listnet, multi_positive_softmax, plackett_luce
from distill.losses.functional.soft_ce import soft_ce
from distill.ops.scan import segment_tail_logsumexp

INDEX = torch.tensor([0, 0, 0, 1, 3, 3, 3, 3])
COUNTS = torch.tensor([3, 1, 0, 4, 0])


@pytest.fixture
def pair(generator):
    return (2 * torch.randn(2, 8, dtype=torch.float64, generator=generator)).unbind()


def _lists(*values):
    for r in range(5):
        rows = (r == INDEX).numpy()
        if rows.any():
            yield r, *(np.asarray(v)[rows] for v in values)


def test_tail_logsumexp_keeps_its_precision_far_below_the_maximum():
    values = torch.tensor([900.0, 1.0, 2.0, -800.0, -800.0, 5.0]).double().requires_grad_()
    index, counts = torch.tensor([0, 0, 0, 0, 0, 1]), torch.tensor([5, 1])
    found = segment_tail_logsumexp(values, index, counts)
    plain = values.detach().numpy()
    expected = [logsumexp(plain[i:5]) for i in range(5)] + [5.0]
    np.testing.assert_allclose(found.detach().numpy(), expected, rtol=1e-14)
    assert torch.autograd.gradcheck(lambda v: segment_tail_logsumexp(v / 1000, index, counts), values)


@pytest.mark.parametrize("lengths", [[], [0, 0], [1], [7, 0, 1, 33, 2, 64, 5]])
def test_tail_logsumexp_of_any_lengths(lengths, generator):
    counts = torch.tensor(lengths, dtype=torch.int64)
    index = torch.arange(len(lengths)).repeat_interleave(counts)
    values = torch.randn(index.shape[0], dtype=torch.float64, generator=generator)
    ends = counts.cumsum(0)[index]
    expected = [logsumexp(values[i : ends[i]].numpy()) for i in range(index.shape[0])]
    np.testing.assert_allclose(segment_tail_logsumexp(values, index, counts).numpy(), expected, rtol=1e-12)


@pytest.mark.parametrize("top", [None, 1, 2, 9])
def test_plackett_luce_equals_numpy(pair, top):
    sums, places = plackett_luce(*pair, INDEX, COUNTS, top)
    expected = np.zeros(5)
    for r, student, teacher in _lists(*pair):
        ordered = student[np.argsort(-teacher)]
        for k in range(min(len(ordered), top or 9)):
            expected[r] += logsumexp(ordered[k:]) - ordered[k]
    np.testing.assert_allclose(sums.numpy(), expected, rtol=1e-9, atol=1e-12)
    assert places.tolist() == COUNTS.clamp(max=top or 9).tolist()


def test_listnet_equals_numpy(pair):
    student, labels = pair[0], torch.tensor([0.0, 2.0, 1.0, 0.0, 0.0, 0.0, 4.0, 1.0]).double()
    expected = np.zeros(5)
    for r, s, y in _lists(student, labels):
        expected[r] = -(softmax(y / 0.5) * np.log(softmax(s))).sum()
    np.testing.assert_allclose(listnet(student, labels, INDEX, 5, 0.5).numpy(), expected, rtol=1e-9, atol=1e-12)


def test_multi_positive_softmax_equals_numpy_also_where_the_positive_is_far_ahead(pair):
    student = pair[0].clone()
    student[1] = 800.0
    positive = torch.tensor([0, 1, 0, 1, 1, 0, 1, 0], dtype=torch.bool)
    expected = np.zeros(5)
    for r, s, p in _lists(student, positive):
        for own in s[p] if not p.all() else []:
            expected[r] += logsumexp([*s[~p], own]) - own
    student.requires_grad_()
    sums, number = multi_positive_softmax(student, positive, INDEX, COUNTS)
    np.testing.assert_allclose(sums.detach().numpy(), expected, rtol=1e-9, atol=1e-12)
    assert number.tolist() == [1, 0, 0, 2, 0]
    sums.sum().backward()
    assert student.grad.isfinite().all()
    assert student.grad[3] == 0


@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
def test_jrc_equals_numpy(pair, alpha):
    labels = torch.tensor([0, 1, 0, 1, 1, 0, 0, 0]).double()
    expected = np.zeros(5)
    for r, s, y in _lists(pair[0], labels):
        bce = -(y * np.log(expit(s)) + (1 - y) * np.log(1 - expit(s)))
        order = -np.where(y > 0, np.log(softmax(s / 2)), np.log(softmax(-s / 2)))
        expected[r] = (alpha * bce + (1 - alpha) * order).mean()
    np.testing.assert_allclose(
        jrc(pair[0], labels, labels > 0, INDEX, 5, alpha).numpy(), expected, rtol=1e-9, atol=1e-12
    )


@pytest.mark.parametrize("temperature", [1.0, 4.0, 16.0])
def test_soft_ce_equals_numpy_and_its_gradient_keeps_its_size(pair, temperature):
    student, teacher = pair[0].clone().requires_grad_(), pair[1]
    values = soft_ce(student, teacher, temperature)
    p, q = (expit(x.detach().numpy() / temperature) for x in (teacher, student))
    expected = -(temperature**2) * (p * np.log(q) + (1 - p) * np.log(1 - q))
    np.testing.assert_allclose(values.detach().numpy(), expected, rtol=1e-9)
    values.sum().backward()
    np.testing.assert_allclose(student.grad.numpy(), temperature * (q - p), rtol=1e-9, atol=1e-12)
