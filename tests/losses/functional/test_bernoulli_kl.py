import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import rel_entr

from distill.losses.functional.bernoulli_kl import bernoulli_kl


def _reference(student, teacher, temperature):
    p, q = (1 / (1 + np.exp(-x / temperature)) for x in (teacher, student))
    return temperature**2 * (rel_entr(p, q) + rel_entr(1 - p, 1 - q))


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_equals_scipy(generator, temperature):
    student, teacher = 3 * torch.randn(2, 200, dtype=torch.float64, generator=generator)
    expected = _reference(student.numpy(), teacher.numpy(), temperature)
    actual = bernoulli_kl(student, teacher, temperature).numpy()
    np.testing.assert_allclose(actual, expected, rtol=1e-9, atol=1e-14)


def test_by_hand():
    teacher = torch.tensor(0.0)
    student = torch.log(torch.tensor(3.0))
    expected = 0.5 * np.log(0.5 / 0.75) + 0.5 * np.log(0.5 / 0.25)
    assert bernoulli_kl(student, teacher).item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("temperature", [0.7, 1.0, 3.0])
def test_value_and_gradient_are_exactly_zero_at_agreement(dtype, temperature, generator):
    logits = torch.cat([torch.linspace(-40, 40, 3001), torch.tensor([1e4, -1e4, 0.0, 1e-30])]).to(dtype)
    student = logits.clone().requires_grad_()
    values = bernoulli_kl(student, logits, temperature)
    values.sum().backward()
    assert values.abs().max() == 0
    assert student.grad.abs().max() == 0


@given(st.floats(-1e4, 1e4, width=32), st.floats(-1e4, 1e4, width=32), st.floats(0.1, 100.0))
def test_finite_and_never_negative_with_a_gradient_towards_the_teacher(student, teacher, temperature):
    s = torch.tensor(student, requires_grad=True)
    value = bernoulli_kl(s, torch.tensor(teacher), temperature)
    value.backward()
    assert torch.isfinite(value)
    assert torch.isfinite(s.grad)
    assert value >= 0
    assert s.grad * (student - teacher) >= 0


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_small_probabilities_keep_relative_precision(sign):
    student, teacher = sign * torch.tensor(-20.0), sign * torch.tensor(-24.0)
    exact = _reference(np.float64(-20.0), np.float64(-24.0), 1.0)
    student.requires_grad_()
    value = bernoulli_kl(student, teacher)
    value.backward()
    assert value.item() == pytest.approx(exact, rel=1e-5)
    assert student.grad.item() == pytest.approx(sign * (np.exp(-20.0) - np.exp(-24.0)), rel=1e-5)


def test_wrong_side_at_large_logits_costs_the_logit():
    assert bernoulli_kl(torch.tensor(-1e4), torch.tensor(1e4)).item() == 1e4
    assert bernoulli_kl(torch.tensor(1e4), torch.tensor(-1e4), temperature=2.0).item() == 2e4


def test_gradient_keeps_its_size_as_temperature_grows(generator):
    teacher = 0.5 * torch.randn(100, dtype=torch.float64, generator=generator)
    difference = 0.01 * torch.randn(100, dtype=torch.float64, generator=generator)
    sizes = []
    for temperature in (1.0, 4.0, 16.0):
        student = (teacher + difference).requires_grad_()
        bernoulli_kl(student, teacher, temperature).sum().backward()
        sizes.append(student.grad.norm().item())
    np.testing.assert_allclose(sizes, difference.norm().item() / 4, rtol=0.15)


def test_no_gradient_reaches_the_teacher():
    student, teacher = torch.randn(2, 5, dtype=torch.float64).unbind()
    student, teacher = student.clone().requires_grad_(), teacher.clone().requires_grad_()
    bernoulli_kl(student, teacher).sum().backward()
    assert teacher.grad is None
    assert student.grad.abs().min() > 0


@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_first_and_second_derivative(temperature, generator):
    student, teacher = torch.randn(2, 6, dtype=torch.float64, generator=generator).unbind()
    student.requires_grad_()
    assert torch.autograd.gradcheck(lambda s: bernoulli_kl(s, teacher, temperature), student)
    assert torch.autograd.gradgradcheck(lambda s: bernoulli_kl(s, teacher, temperature), student)


def test_a_nan_is_not_hidden():
    assert bernoulli_kl(torch.tensor(float("nan")), torch.tensor(0.0)).isnan()
