from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from distill.errors import ConfigError
from distill.layers.activation import Activation
from distill.layers.cross import CrossNetV2
from distill.layers.cross_gated import GatedCrossNet
from distill.layers.cross_mixture import CrossNetV2Mixture, GateFunction
from distill.layers.cross_v1 import CrossNetV1
from tests.layers.checking import arrays, check_layer, count, randomise, rows


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


@pytest.mark.parametrize("rank", [None, 2])
def test_is_a_layer(rank: int | None) -> None:
    layer = CrossNetV2(5, 3, rank)
    assert count(layer) == 3 * (5 * 5 + 5 if rank is None else 2 * 5 * rank + 5)
    check_layer(layer, 5)


@pytest.mark.parametrize("num_layers", [0, 1, 3])
def test_v1_equals_numpy(num_layers: int) -> None:
    layer = CrossNetV1(5, num_layers).double()
    randomise(layer)
    weights, x = arrays(layer), rows(4, 5)
    expected = []
    for x0 in x.numpy():
        xl = x0
        for i in range(num_layers):
            product = sum(xl[d] * weights[f"weights.{i}"][d, 0] for d in range(5))
            xl = x0 * product + weights[f"biases.{i}"] + xl
        expected.append(xl)
    np.testing.assert_allclose(layer(x).detach().numpy(), expected, atol=1e-9)


def test_a_rank_of_none_is_refused() -> None:
    with pytest.raises(ConfigError, match="rank=0"):
        CrossNetV2(5, 3, 0)


def test_v1_without_biases_is_a_multiple_of_its_input() -> None:
    x = rows(4, 5)
    ratio = CrossNetV1(5, 3).double()(x) / x
    torch.testing.assert_close(ratio, ratio[:, :1].expand(4, 5))


def test_v1_is_a_layer() -> None:
    layer = CrossNetV1(5, 3)
    assert count(layer) == 3 * 2 * 5
    check_layer(layer, 5)


def _act(name: str, a: np.ndarray) -> np.ndarray:
    return np.tanh(a) if name == "tanh" else a


@pytest.mark.parametrize("gate", ["softmax", "sigmoid"])
@pytest.mark.parametrize(("rank", "experts", "activation"), [(2, 3, "tanh"), (1, 1, "tanh"), (4, 2, "identity")])
def test_mixture_equals_numpy(rank: int, experts: int, activation: Activation, gate: GateFunction) -> None:
    layer = CrossNetV2Mixture(5, 2, rank, experts, gate, activation).double()
    randomise(layer)
    weights, x = arrays(layer), rows(4, 5)
    expected = []
    for x0 in x.numpy():
        xl = x0
        for i in range(2):
            w = {name.removeprefix(f"layers.{i}."): value for name, value in weights.items()}
            logits = w["gate.weight"] @ xl + w["gate.bias"]
            gates = np.exp(logits) / np.exp(logits).sum() if gate == "softmax" else 1 / (1 + np.exp(-logits))
            total = np.zeros(5)
            for e in range(experts):
                own = slice(e * rank, (e + 1) * rank)
                hidden = _act(activation, w["down"][:, own].T @ xl)
                hidden = _act(activation, w["core"][e].T @ hidden)
                total += gates[e] * x0 * (w["up"][own].T @ hidden + w["bias"])
            xl = total + xl
        expected.append(xl)
    np.testing.assert_allclose(layer(x).detach().numpy(), expected, atol=1e-9)


@pytest.mark.parametrize("gate", ["softmax", "sigmoid"])
def test_mixture_is_a_layer(gate: GateFunction) -> None:
    layer = CrossNetV2Mixture(5, 2, 3, 4, gate)
    assert count(layer) == 2 * (4 * (5 * 3 + 3 * 3 + 3 * 5) + 5 + 4 * (5 + 1))
    check_layer(layer, 5)


def test_mixture_refuses_wrong_arguments() -> None:
    with pytest.raises(ConfigError, match="rank=0"):
        CrossNetV2Mixture(5, 2, 0, 4)
    gate: Any = "hard"
    with pytest.raises(ConfigError, match="hard"):
        CrossNetV2Mixture(5, 2, 2, 4, gate)


@pytest.mark.parametrize("num_layers", [0, 1, 3])
def test_gated_equals_numpy(num_layers: int) -> None:
    layer = GatedCrossNet(5, num_layers).double()
    randomise(layer)
    w, x, expected = arrays(layer), rows(4, 5), []
    for x0 in x.numpy():
        xl = x0
        for i in range(num_layers):
            gate = 1 / (1 + np.exp(-(w[f"gates.{i}.weight"] @ xl)))
            xl = x0 * (w[f"crosses.{i}.weight"] @ xl + w[f"crosses.{i}.bias"]) * gate + xl
        expected.append(xl)
    np.testing.assert_allclose(layer(x).detach().numpy(), expected, atol=1e-9)


def test_gated_is_a_layer() -> None:
    layer = GatedCrossNet(5, 2)
    assert count(layer) == 2 * (2 * 5 * 5 + 5)
    check_layer(layer, 5)
    with pytest.raises(ConfigError, match="in_features=0"):
        GatedCrossNet(0, 2)
