"""InfoNCE of two views against NumPy, at its ends, and its gradients."""

import numpy as np
import torch
from scipy.special import log_softmax

from distill.losses.functional.info_nce import info_nce


def test_equals_numpy(generator):
    first, second = torch.randn(2, 5, 3, dtype=torch.float64, generator=generator).unbind()
    a, b = (v.numpy() / np.linalg.norm(v.numpy(), axis=1, keepdims=True) for v in (first, second))
    expected = [-log_softmax(a[i] @ b.T / 0.07)[i] for i in range(5)]
    np.testing.assert_allclose(info_nce(first, second, 0.07).numpy(), expected, rtol=1e-9)
    np.testing.assert_allclose(info_nce(3 * first, 0.1 * second, 0.07).numpy(), expected, rtol=1e-9)


def test_by_hand():
    """Two items whose views agree: log(1 + e^(-1/τ)); whose views are swapped: log(1 + e^(1/τ))."""
    axes = torch.eye(2, dtype=torch.float64)
    for second, sign in ((axes, -1.0), (axes.flip(0), 1.0)):
        found = info_nce(axes, second, 0.5)
        np.testing.assert_allclose(found.numpy(), np.log1p(np.exp(sign / 0.5)), rtol=1e-12)
    np.testing.assert_allclose(info_nce(torch.ones(7, 2), torch.ones(7, 2), 0.07).numpy(), np.log(7), rtol=1e-6)


def test_an_item_alone_and_none_and_vectors_of_length_zero():
    alone = torch.ones(1, 3, requires_grad=True)
    found = info_nce(alone, -alone, 0.07)
    assert found.tolist() == [0.0]
    found.sum().backward()
    assert alone.grad is not None
    assert alone.grad.eq(0).all()
    assert info_nce(torch.ones(0, 3), torch.ones(0, 3), 0.07).sum().item() == 0.0
    zero = torch.zeros(2, 3, requires_grad=True)
    info_nce(zero, torch.eye(2, 3), 0.07).sum().backward()
    assert zero.grad is not None
    assert zero.grad.isfinite().all()


def test_gradients_reach_both_views(generator):
    first, second = torch.randn(2, 4, 3, dtype=torch.float64, generator=generator).unbind()
    first, second = first.clone().requires_grad_(), second.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda a, b: info_nce(a, b, 0.3), (first, second))
