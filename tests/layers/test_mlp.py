from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch

from distill.errors import ConfigError
from distill.layers.activation import Activation, make_activation
from distill.layers.batch_norm import BatchNorm
from distill.layers.mlp import MLP, Norm
from tests.layers.checking import arrays, check_layer, count, randomise, rows


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


ACTIVATIONS: dict[Activation, Callable[[np.ndarray], np.ndarray]] = {
    "identity": lambda a: a,
    "relu": lambda a: np.maximum(a, 0),
    "leaky_relu": lambda a: np.where(a > 0, a, 0.01 * a),
    "prelu": lambda a: np.where(a > 0, a, 0.25 * a),
    "gelu": lambda a: a * 0.5 * (1 + np.vectorize(math.erf)(a / np.sqrt(2))),
    "silu": lambda a: a / (1 + np.exp(-a)),
    "sigmoid": lambda a: 1 / (1 + np.exp(-a)),
    "tanh": np.tanh,
}


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_activations_equal_numpy(activation: Activation) -> None:
    x = rows(3, 4)
    expected = ACTIVATIONS[activation](x.numpy())
    np.testing.assert_allclose(make_activation(activation).double()(x).detach().numpy(), expected, atol=1e-12)


@pytest.mark.parametrize("residual", [True, False])
@pytest.mark.parametrize("norm", ["none", "batch", "layer"])
def test_norms_and_shortcuts_equal_numpy(norm: Norm, residual: bool) -> None:
    mlp = MLP(4, [4, 3, 3], "tanh", norm, residual=residual).double()
    randomise(mlp)
    x = rows(6, 4)
    hidden = x.numpy()
    for block in mlp.blocks:
        before, w = hidden, arrays(block)
        hidden = hidden @ w["0.weight"].T + w["0.bias"]
        if norm != "none":
            axis = 0 if norm == "batch" else 1
            centred = hidden - hidden.mean(axis, keepdims=True)
            hidden = centred / np.sqrt(hidden.var(axis, keepdims=True) + 1e-5) * w["1.weight"] + w["1.bias"]
        hidden = np.tanh(hidden)
        if residual and hidden.shape == before.shape:
            hidden = hidden + before
    np.testing.assert_allclose(mlp(x).detach().numpy(), hidden, atol=1e-9)


def test_units_are_dropped_in_training_only() -> None:
    mlp, x = MLP(3, [64], dropout=0.5), torch.randn(2, 3)
    assert float((mlp(x) == 0).float().mean()) > float((mlp.eval()(x) == 0).float().mean())
    assert torch.equal(mlp(x), mlp(x))


@pytest.mark.parametrize("norm", ["none", "batch", "layer"])
@pytest.mark.parametrize("residual", [True, False])
def test_is_a_layer(norm: Norm, residual: bool) -> None:
    mlp = MLP(8, [8, 6], "prelu", norm, 0.1, residual)
    assert count(mlp) == 9 * 8 + 9 * 6 + 2 + (2 * (8 + 6) if norm != "none" else 0)
    check_layer(mlp, 8)


@pytest.mark.parametrize(("argument", "value"), [("activation", "rule"), ("norm", "bach")])
def test_unknown_names_are_refused(argument: str, value: str) -> None:
    with pytest.raises(ConfigError, match=value):
        MLP(3, [2], **{argument: value})  # type: ignore[arg-type]


def test_batch_norm_is_torchs_and_takes_any_number_of_rows() -> None:
    torch.manual_seed(0)
    ours, theirs = BatchNorm(3), torch.nn.BatchNorm1d(3)
    for _ in range(3):
        x = torch.randn(5, 3) * 2 + 1
        torch.testing.assert_close(ours(x), theirs(x))
    state = {name: value.clone() for name, value in ours.state_dict().items()}
    assert ours.state_dict().keys() == theirs.state_dict().keys()
    assert all(torch.equal(value, theirs.state_dict()[name]) for name, value in state.items())
    one = torch.randn(1, 3)
    torch.testing.assert_close(ours(one), theirs.eval()(one))
    assert ours(one[:0]).shape == (0, 3)
    assert all(torch.equal(value, state[name]) for name, value in ours.state_dict().items())
    torch.testing.assert_close(ours.eval()(x), theirs(x))
