from __future__ import annotations

import numpy as np
import pytest
import torch

from distill.errors import ConfigError
from distill.layers.mlp import MLP


def test_equals_numpy() -> None:
    torch.manual_seed(0)
    mlp = MLP(5, [4, 3]).double()
    x = torch.randn(7, 5, dtype=torch.float64)
    hidden = x.numpy()
    for block in mlp.blocks:
        linear = block[0]
        hidden = np.maximum(hidden @ linear.weight.detach().numpy().T + linear.bias.detach().numpy(), 0)
    np.testing.assert_allclose(mlp(x).detach().numpy(), hidden, atol=1e-12)


def test_no_hidden_units_is_the_identity() -> None:
    x = torch.randn(2, 5)
    mlp = MLP(5, [])
    assert torch.equal(mlp(x), x)
    assert mlp.out_features == 5


def test_residual_adds_the_input_where_widths_agree() -> None:
    mlp = MLP(3, [3, 2], residual=True)
    for p in mlp.parameters():
        torch.nn.init.zeros_(p)
    x = torch.randn(4, 3)
    assert torch.equal(mlp.blocks[0](x) + x, x)
    assert mlp(x).shape == (4, 2)
    assert torch.equal(MLP(3, [], residual=True)(x), x)


def test_batch_of_one_and_gradients() -> None:
    mlp = MLP(3, [2], activation="tanh", norm="layer").double()
    x = torch.randn(1, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(mlp, (x,))


@pytest.mark.parametrize(("argument", "value"), [("activation", "rule"), ("norm", "bach")])
def test_unknown_names_are_refused(argument: str, value: str) -> None:
    with pytest.raises(ConfigError, match=value):
        MLP(3, [2], **{argument: value})  # type: ignore[arg-type]
