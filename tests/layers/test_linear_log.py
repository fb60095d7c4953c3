from __future__ import annotations

import math

import pytest
import torch

from distill.layers.linear_log import linear_log


@pytest.mark.parametrize(
    ("x", "expected"),
    [(-math.e, -2.0), (-1.0, -1.0), (-0.5, -0.5), (0.0, 0.0), (0.25, 0.25), (1.0, 1.0), (math.e**2, 3.0)],
)
def test_by_hand(x: float, expected: float) -> None:
    assert float(linear_log(torch.tensor(x, dtype=torch.float64))) == pytest.approx(expected, abs=1e-12)


def test_gradients_and_shape() -> None:
    x = torch.tensor([[-7.0, -0.3, 0.0], [0.4, 3.0, -1.5]], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(linear_log, (x,))
    edge = torch.tensor([-1e30, -1.0, 0.0, 1.0, 1e30], requires_grad=True)
    linear_log(edge).sum().backward()
    assert edge.grad is not None
    torch.testing.assert_close(edge.grad, torch.tensor([1e-30, 1.0, 1.0, 1.0, 1e-30]))


def test_half_precision_keeps_large_numbers() -> None:
    found = linear_log(torch.tensor([60000.0, -60000.0], dtype=torch.float16))
    torch.testing.assert_close(found, torch.tensor([12.0, -12.0], dtype=torch.float16), atol=0.02, rtol=0)
