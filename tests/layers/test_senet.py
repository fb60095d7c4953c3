from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from distill.errors import ConfigError
from distill.layers.group_gate import GroupGate
from distill.layers.senet import Excitation, SENet
from tests.layers.checking import EQUAL, UNEQUAL, arrays, check_layer, count, randomise, rows, split


@pytest.mark.parametrize("excitation", ["relu", "sigmoid"])
@pytest.mark.parametrize("widths", [*EQUAL, *UNEQUAL])
def test_equals_numpy(widths: dict[str, int], excitation: Excitation) -> None:
    layer = SENet(widths, 2, excitation).double()
    randomise(layer)
    weights = arrays(layer)
    x = rows(6, sum(widths.values()))
    expected, gates = [], []
    for row in x.numpy():
        fields = split(row, widths)
        z = [sum(field) / len(field) for field in fields]
        hidden = [max(0.0, sum(w * z_i for w, z_i in zip(line, z, strict=True))) for line in weights["squeeze.weight"]]
        gate = [sum(w * h for w, h in zip(line, hidden, strict=True)) for line in weights["excite.weight"]]
        gate = [max(0.0, g) if excitation == "relu" else 1 / (1 + np.exp(-g)) for g in gate]
        gates.append(gate)
        expected.append(np.concatenate([g * field for g, field in zip(gate, fields, strict=True)]))
    assert np.abs(expected).max() > 0
    np.testing.assert_allclose(layer.weights(x).detach().numpy(), gates, atol=1e-9)
    np.testing.assert_allclose(layer(x).detach().numpy(), expected, atol=1e-9)


@pytest.mark.parametrize("widths", [EQUAL[1], UNEQUAL[1]])
def test_is_a_layer(widths: dict[str, int]) -> None:
    layer = SENet(widths, 3, "sigmoid")
    reduced = max(1, len(widths) // 3)
    assert count(layer) == 2 * len(widths) * reduced
    check_layer(layer, sum(widths.values()))


def test_there_is_always_a_hidden_unit() -> None:
    assert SENet({"a": 2, "b": 2}, 100, "relu").squeeze.out_features == 1


@pytest.mark.parametrize(
    ("ratio", "excitation", "found"), [(0, "relu", "reduction_ratio=0"), (2, "softmax", "softmax")]
)
def test_wrong_arguments(ratio: int, excitation: Any, found: str) -> None:
    with pytest.raises(ConfigError, match=found):
        SENet(EQUAL[0], ratio, excitation)


@pytest.mark.parametrize("widths", [*EQUAL, *UNEQUAL])
def test_group_gate_equals_numpy(widths: dict[str, int]) -> None:
    layer = GroupGate(widths).double()
    randomise(layer)
    weights, x = arrays(layer), rows(4, sum(widths.values()))
    expected = []
    for row in x.numpy():
        gate = [
            1 / (1 + np.exp(-(w @ row + b))) for w, b in zip(weights["gate.weight"], weights["gate.bias"], strict=True)
        ]
        expected.append(np.concatenate([g * field for g, field in zip(gate, split(row, widths), strict=True)]))
    np.testing.assert_allclose(layer(x).detach().numpy(), expected, atol=1e-9)
    assert count(layer) == len(widths) * (sum(widths.values()) + 1)


def test_group_gate_is_a_layer_and_starts_near_a_half() -> None:
    layer = GroupGate(UNEQUAL[1])
    torch.testing.assert_close(layer.weights(torch.zeros(2, 10)), torch.full((2, 4), 0.5))
    check_layer(layer, 10)
