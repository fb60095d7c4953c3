import numpy as np
import torch
from sklearn.metrics import log_loss

from distill.losses.functional.bce import bce_with_logits


def test_equals_log_of_the_probability_by_hand():
    logits = torch.tensor([[0.0, 2.0], [-1.0, 0.5]], dtype=torch.float64)
    labels = torch.tensor([[1.0, 0.0], [0.0, 0.25]], dtype=torch.float64)
    p = 1 / (1 + np.exp(-logits.numpy()))
    expected = -(labels.numpy() * np.log(p) + (1 - labels.numpy()) * np.log(1 - p))
    np.testing.assert_allclose(bce_with_logits(logits, labels).numpy(), expected, rtol=1e-12)


def test_mean_equals_sklearn_log_loss(generator):
    logits = torch.randn(50, dtype=torch.float64, generator=generator)
    labels = (torch.rand(50, generator=generator) < 0.3).double()
    assert np.isclose(bce_with_logits(logits, labels).mean(), log_loss(labels, logits.sigmoid()), rtol=1e-10)


def test_large_logits_stay_finite():
    logits = torch.tensor([1e4, -1e4, 1e4, -1e4], requires_grad=True)
    values = bce_with_logits(logits, torch.tensor([1.0, 0.0, 0.0, 1.0]))
    values.sum().backward()
    assert values.tolist() == [0.0, 0.0, 1e4, 1e4]
    assert logits.grad.tolist() == [0.0, 0.0, 1.0, -1.0]


def test_gradient_reaches_logits_only():
    logits = torch.randn(4, dtype=torch.float64, requires_grad=True)
    labels = torch.rand(4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda s: bce_with_logits(s, labels.detach()), logits)
    bce_with_logits(logits, labels).sum().backward()
    assert labels.grad is None
    torch.testing.assert_close(logits.grad, (logits.sigmoid() - labels).detach())
