import numpy as np
import torch
from scipy.special import rel_entr, softmax

from distill.losses.setting import LossSetting
from distill.losses.terms import BernoulliKL, SoftmaxKL


def test_equals_scipy_over_requests_with_at_least_two_scored_rows(make_inputs, two_tasks, generator):
    sizes = [4, 1, 3, 2, 3]
    student, teacher = torch.randn(2, 13, 2, dtype=torch.float64, generator=generator).unbind()
    valid = np.array([1, 0, 1, 1, 1, 1, 0, 0, 1, 1, 0, 0, 0], dtype=bool)
    weight = np.array([1, 1, 0.5, 0, 1, 1, 1, 1, 3, 2, 1, 1, 1])
    term = SoftmaxKL(temperature=2.0)
    term.setup(LossSetting(two_tasks, has_signals=True))
    sums = term(make_inputs(student, sizes, teacher=teacher, valid=valid, weight=weight))
    rows_of_requests = [[0, 2], [8, 9]]
    request_weights = [0.75, 2.5]
    numerators = np.zeros(2)
    for rows, request_weight in zip(rows_of_requests, request_weights, strict=True):
        p, q = (softmax(x.numpy()[rows] / 2.0, axis=0) for x in (teacher, student))
        numerators += request_weight * 4.0 * rel_entr(p, q).sum(0)
    np.testing.assert_allclose(sums.numerators.numpy(), numerators, rtol=1e-9)
    assert sums.denominators.tolist() == [3.25, 3.25]
    np.testing.assert_allclose(sums.mean().item(), (numerators[0] + 0.5 * numerators[1]) / 3.25, rtol=1e-9)


def test_batch_of_one_request_and_of_one_row(make_inputs, two_tasks):
    term = SoftmaxKL()
    term.setup(LossSetting(two_tasks, has_signals=True))
    assert term(make_inputs(torch.ones(1, 2), [1], teacher=torch.zeros(1, 2))).denominators.tolist() == [0.0, 0.0]
    student = torch.log(torch.tensor([[3.0, 1.0], [1.0, 1.0]]))
    sums = term(make_inputs(student, [2], teacher=torch.zeros(2, 2)))
    expected = 0.5 * np.log(0.5 / 0.75) + 0.5 * np.log(0.5 / 0.25)
    np.testing.assert_allclose(sums.numerators.tolist(), [expected, 0.0], atol=1e-6)


def test_two_candidates_are_a_bernoulli_of_their_difference(make_inputs, two_tasks, generator):
    student, teacher = torch.randn(2, 2, 2, dtype=torch.float64, generator=generator).unbind()
    softmax_term, bernoulli_term = SoftmaxKL(temperature=3.0), BernoulliKL(temperature=3.0)
    for term in (softmax_term, bernoulli_term):
        term.setup(LossSetting(two_tasks, has_signals=True))
    pair = make_inputs(student, [2], teacher=teacher)
    difference = make_inputs(student[:1] - student[1:], [1], teacher=teacher[:1] - teacher[1:])
    torch.testing.assert_close(softmax_term(pair).mean(), bernoulli_term(difference).mean())
