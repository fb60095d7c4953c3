import numpy as np
import pytest
import torch

from distill.losses.functional.mse import logit_mse, prob_mse


def test_by_hand():
    student, teacher = torch.tensor([1.0, -2.0]), torch.tensor([3.0, -2.0])
    assert logit_mse(student, teacher).tolist() == [4.0, 0.0]
    student, teacher = torch.from_numpy(np.log([[1.0, 3.0], [3.0, 3.0]])).unbind()
    torch.testing.assert_close(prob_mse(student, teacher), torch.tensor([0.0625, 0.0], dtype=torch.float64))


@pytest.mark.parametrize("function", [logit_mse, prob_mse])
def test_zero_at_agreement_and_gradient_to_the_student_only(function, generator):
    teacher = torch.randn(5, dtype=torch.float64, generator=generator, requires_grad=True)
    same = teacher.detach().clone().requires_grad_()
    function(same, teacher).sum().backward()
    assert same.grad.abs().max() == 0
    assert teacher.grad is None
    student = torch.randn(5, dtype=torch.float64, generator=generator, requires_grad=True)
    assert torch.autograd.gradcheck(lambda s: function(s, teacher.detach()), student)


@pytest.mark.parametrize("function", [logit_mse, prob_mse])
def test_large_logits_stay_finite(function):
    student = torch.tensor([1e4, -1e4], requires_grad=True)
    values = function(student, torch.tensor([-1e4, -1e4]))
    values.sum().backward()
    assert torch.isfinite(values).all()
    assert torch.isfinite(student.grad).all()
