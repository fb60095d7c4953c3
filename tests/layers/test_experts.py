"""Experts, MMoE, CGC and PLE: each expert and each gate computed alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from distill.errors import ConfigError
from distill.layers.experts import Experts
from distill.layers.extraction import CGC, PLE
from distill.layers.mmoe import MMoE
from tests.layers.checking import arrays, check_gradients, check_layer, count, randomise, rows

Weights = dict[str, np.ndarray]


def _softmax(logits: np.ndarray) -> np.ndarray:
    return np.exp(logits) / np.exp(logits).sum()


def _expert(w: Weights, prefix: str, group: int, expert: int, x: np.ndarray) -> np.ndarray:
    """One expert of a group, layer by layer."""
    biases = [w[name] for name in w if name.startswith(f"{prefix}biases.")]
    first = w[f"{prefix}first"]
    num_experts = first.shape[2] // biases[0].shape[1]
    index, width = group * num_experts + expert, biases[0].shape[1]
    hidden = np.maximum(x @ first[group][:, expert * width : (expert + 1) * width] + biases[0][index], 0)
    for layer, bias in enumerate(biases[1:]):
        hidden = np.maximum(hidden @ w[f"{prefix}weights.{layer}"][index] + bias[index], 0)
    return hidden


@pytest.mark.parametrize(("groups", "experts", "units"), [(1, 3, [4]), (2, 1, [3, 2]), (3, 2, [4, 3, 2])])
def test_experts_equal_numpy(groups: int, experts: int, units: list[int]) -> None:
    layer = Experts(groups, experts, 5, units).double()
    randomise(layer)
    w = arrays(layer)
    each, same = rows(4, groups * 5).view(4, groups, 5), rows(4, 5).view(4, 1, 5)
    for x in (each, same):
        expected = [
            [[_expert(w, "", g, e, row[min(g, len(row) - 1)]) for e in range(experts)] for g in range(groups)]
            for row in x.numpy()
        ]
        np.testing.assert_allclose(layer(x).detach().numpy(), expected, atol=1e-9)
    assert count(layer) == groups * experts * sum((a + 1) * b for a, b in zip([5, *units], units, strict=False))


def test_experts_drop_units_in_training_only() -> None:
    layer = Experts(1, 2, 5, [64], dropout=0.5)
    x = torch.randn(3, 1, 5)
    assert not torch.equal(layer(x), layer(x))
    assert torch.equal(layer.eval()(x), layer(x))


@pytest.mark.parametrize(("tasks", "experts", "units"), [(1, 1, [3]), (2, 4, [3]), (3, 2, [4, 2])])
def test_mmoe_equals_numpy(tasks: int, experts: int, units: list[int]) -> None:
    layer = MMoE(5, tasks, experts, units).double()
    randomise(layer)
    w, x, expected = arrays(layer), rows(4, 5), []
    for row in x.numpy():
        outputs = [_expert(w, "experts.", 0, e, row) for e in range(experts)]
        for k in range(tasks):
            own = slice(k * experts, (k + 1) * experts)
            gates = _softmax(w["gate.weight"][own] @ row + w["gate.bias"][own])
            expected.append(sum(g * out for g, out in zip(gates, outputs, strict=True)))
    np.testing.assert_allclose(layer(x).detach().numpy(), np.reshape(expected, (4, tasks, -1)), atol=1e-9)
    np.testing.assert_allclose(layer.gates(x).sum(2).detach().numpy(), 1)


def test_mmoe_is_a_layer() -> None:
    layer = MMoE(5, 2, 3, [4, 2], "tanh")
    assert count(layer) == 3 * (6 * 4 + 5 * 2) + 2 * 3 * 6
    check_layer(layer, 5)


def _ple(w: Weights, x: np.ndarray, tasks: int, levels: int, own: int, shared: int) -> list[np.ndarray]:
    inputs, common = [x] * tasks, x
    for level in range(levels):
        prefix = f"levels.{level}."
        of_tasks = [[_expert(w, f"{prefix}task_experts.", k, e, inputs[k]) for e in range(own)] for k in range(tasks)]
        of_shared = [_expert(w, f"{prefix}shared_experts.", 0, e, common) for e in range(shared)]
        outputs = []
        for k in range(tasks):
            gates = _softmax(inputs[k] @ w[f"{prefix}gate_weight"][k] + w[f"{prefix}gate_bias"][k])
            outputs.append(sum(g * out for g, out in zip(gates, of_tasks[k] + of_shared, strict=True)))
        if level < levels - 1:
            gates = _softmax(w[f"shared_gates.{level}.weight"] @ common + w[f"shared_gates.{level}.bias"])
            every = [out for outs in of_tasks for out in outs] + of_shared
            common = sum(g * out for g, out in zip(gates, every, strict=True))
        inputs = outputs
    return inputs


@pytest.mark.parametrize(
    ("tasks", "levels", "own", "shared", "units"),
    [(1, 1, 1, 1, [3]), (2, 1, 2, 1, [3, 2]), (2, 2, 1, 3, [4]), (3, 3, 2, 2, [3, 2])],
)
def test_ple_equals_numpy(tasks: int, levels: int, own: int, shared: int, units: list[int]) -> None:
    layer = PLE(5, tasks, levels, own, shared, units).double()
    randomise(layer)
    w, x = arrays(layer), rows(4, 5)
    expected = [_ple(w, row, tasks, levels, own, shared) for row in x.numpy()]
    np.testing.assert_allclose(layer(x).detach().numpy(), expected, atol=1e-9)


def test_cgc_is_one_level_and_a_layer() -> None:
    layer = CGC(5, 2, 2, 3, [4, 2], "tanh")
    ple = PLE(5, 2, 1, 2, 3, [4, 2], "tanh")
    ple.load_state_dict(layer.state_dict())
    x = torch.randn(3, 5)
    assert torch.equal(layer(x), ple(x))
    assert count(layer) == (2 * 2 + 3) * (6 * 4 + 5 * 2) + 2 * (2 + 3) * 6
    check_layer(layer, 5)


def test_ple_is_a_layer() -> None:
    layer = PLE(5, 2, 2, 1, 2, [3], "tanh")
    experts, gates = (2 + 2) * (6 * 3 + 4 * 3), 2 * (1 + 2) * (6 + 4) + (2 + 2) * 6
    assert count(layer) == experts + gates
    check_layer(layer, 5)


def test_gradients_of_experts_with_inputs_of_their_own() -> None:
    check_gradients(Experts(2, 2, 3, [3, 2], "tanh").double(), rows(2, 6).view(2, 2, 3))


@pytest.mark.parametrize(
    ("build", "found"),
    [
        (lambda: Experts(1, 0, 5, [3]), "num_experts=0"),
        (lambda: MMoE(5, 0, 2, [3]), "num_tasks=0"),
        (lambda: MMoE(5, 2, 2, []), "hidden_units"),
        (lambda: PLE(5, 2, 2, 1, 1, []), "hidden_units"),
        (lambda: PLE(5, 2, 0, 1, 1, [3]), "num_levels=0"),
        (lambda: CGC(5, 2, 1, 0, [3]), "num_shared_experts=0"),
    ],
)
def test_wrong_sizes(build: object, found: str) -> None:
    assert callable(build)
    with pytest.raises(ConfigError, match=found):
        build()
