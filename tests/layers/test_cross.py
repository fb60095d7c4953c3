from __future__ import annotations

import numpy as np
import pytest
import torch

from distill.layers.cross import CrossNetV2


@pytest.mark.parametrize("rank", [None, 2])
def test_equals_numpy(rank: int | None) -> None:
    torch.manual_seed(0)
    net = CrossNetV2(5, 3, rank).double()
    x0 = np.random.default_rng(0).normal(size=(4, 5))
    x = x0
    for layer in net.layers:
        if rank is None:
            weight, bias = layer.weight.detach().numpy(), layer.bias.detach().numpy()
        else:
            weight = layer[1].weight.detach().numpy() @ layer[0].weight.detach().numpy()
            bias = layer[1].bias.detach().numpy()
        x = x0 * (x @ weight.T + bias) + x
    np.testing.assert_allclose(net(torch.from_numpy(x0)).detach().numpy(), x, atol=1e-12)


def test_batch_of_one_and_gradients() -> None:
    net = CrossNetV2(3, 2).double()
    assert torch.autograd.gradcheck(net, (torch.randn(1, 3, dtype=torch.float64, requires_grad=True),))


def test_no_layers_is_the_identity() -> None:
    x = torch.randn(2, 3)
    assert torch.equal(CrossNetV2(3, 0)(x), x)
