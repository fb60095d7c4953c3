import numpy as np
import pytest
import torch
from scipy.special import rel_entr, softmax

from distill.losses.functional.softmax_kl import softmax_kl

INDEX = torch.tensor([0, 0, 0, 1, 3, 3])
COUNTS = torch.tensor([3, 1, 0, 2, 0])
NUM_REQUESTS = 5


@pytest.fixture
def pair(generator):
    return (2 * torch.randn(2, 6, dtype=torch.float64, generator=generator)).unbind()


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_equals_scipy_on_ragged_requests(pair, temperature):
    student, teacher = pair
    expected = np.zeros(NUM_REQUESTS)
    for r in range(NUM_REQUESTS):
        s, t = (x[r == INDEX].numpy() / temperature for x in (student, teacher))
        if len(s):
            expected[r] = temperature**2 * rel_entr(softmax(t), softmax(s)).sum()
    actual = softmax_kl(student, teacher, INDEX, COUNTS, temperature)
    np.testing.assert_allclose(actual.numpy(), expected, rtol=1e-9, atol=1e-12)
    assert actual[[1, 2, 4]].tolist() == [0.0, 0.0, 0.0]
    assert actual[0] > 0


def test_zero_at_agreement_and_under_a_shift(pair):
    _, teacher = pair
    student = teacher.clone().requires_grad_()
    values = softmax_kl(student, teacher, INDEX, COUNTS)
    values.sum().backward()
    assert values.abs().max() == 0
    assert student.grad.abs().max() == 0
    shift = torch.tensor([5.0, -3.0, 0.0, 100.0, 0.0])[INDEX]
    torch.testing.assert_close(
        softmax_kl(teacher + shift, teacher, INDEX, COUNTS), torch.zeros(5).double(), atol=1e-12, rtol=0
    )


def test_gradient_is_temperature_times_the_difference_of_probabilities(pair):
    student, teacher = pair[0].clone().requires_grad_(), pair[1]
    softmax_kl(student, teacher, torch.zeros(6, dtype=torch.int64), torch.tensor([6]), temperature=3.0).sum().backward()
    expected = 3.0 * ((student / 3.0).softmax(0) - (teacher / 3.0).softmax(0))
    torch.testing.assert_close(student.grad, expected.detach())


def test_gradient_keeps_its_size_as_temperature_grows(pair, generator):
    _, teacher = pair
    difference = 0.01 * torch.randn(6, dtype=torch.float64, generator=generator)
    sizes = []
    for temperature in (4.0, 16.0, 64.0):
        student = (0.2 * teacher + difference).requires_grad_()
        softmax_kl(student, 0.2 * teacher, INDEX, COUNTS, temperature).sum().backward()
        sizes.append(student.grad.norm().item())
    np.testing.assert_allclose(sizes[:-1], sizes[-1], rtol=0.1)


def test_large_logits_stay_finite():
    student = torch.tensor([1e4, -1e4, 0.0, -1e4, 1e4, 0.0], requires_grad=True)
    values = softmax_kl(student, -student.detach(), INDEX, COUNTS)
    values.sum().backward()
    assert torch.isfinite(values).all()
    assert values[0] == 2e4
    assert torch.isfinite(student.grad).all()


def test_gradcheck_and_no_gradient_to_the_teacher(pair):
    student, teacher = (x.clone().requires_grad_() for x in pair)
    assert torch.autograd.gradcheck(lambda s: softmax_kl(s, teacher.detach(), INDEX, COUNTS, 2.0), student)
    softmax_kl(student, teacher, INDEX, COUNTS).sum().backward()
    assert teacher.grad is None


def test_tasks_side_by_side_are_tasks_one_by_one(pair, generator):
    student, teacher = torch.randn(2, 6, 3, dtype=torch.float64, generator=generator).unbind()
    together = student.clone().requires_grad_()
    values = softmax_kl(together, teacher, INDEX, COUNTS, 2.0)
    values.sum().backward()
    for k in range(3):
        alone = student[:, k].clone().requires_grad_()
        value = softmax_kl(alone, teacher[:, k], INDEX, COUNTS, 2.0)
        value.sum().backward()
        torch.testing.assert_close(values[:, k], value)
        torch.testing.assert_close(together.grad[:, k], alone.grad)


def test_no_rows_at_all():
    student = torch.zeros(0, requires_grad=True)
    values = softmax_kl(student, torch.zeros(0), torch.zeros(0, dtype=torch.int64), torch.zeros(3, dtype=torch.int64))
    values.sum().backward()
    assert values.tolist() == [0.0, 0.0, 0.0]
    assert student.grad.shape == (0,)
