"""AITM and the shared bottom: each task of each row computed alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from distill.errors import ConfigError
from distill.layers.adaptive_transfer import AITM
from distill.layers.shared_bottom import SharedBottom
from tests.layers.checking import arrays, check_layer, count, randomise, rows


def _linear(w: dict[str, np.ndarray], name: str, x: np.ndarray) -> np.ndarray:
    return w[f"{name}.weight"] @ x + w[f"{name}.bias"]


@pytest.mark.parametrize("tasks", [1, 2, 3])
def test_aitm_equals_numpy(tasks: int) -> None:
    layer = AITM(5, tasks, [4]).double()
    randomise(layer)
    w, x, expected = arrays(layer), rows(3, 5), []
    for row in x.numpy():
        z, of_tasks = np.zeros(4), []
        for k in range(tasks):
            q = np.maximum(row @ w["towers.first"][k] + w["towers.biases.0"][k], 0)
            if k == 0:
                z = q
            else:
                p = np.maximum(_linear(w, f"given.{k - 1}.blocks.0.0", z), 0)
                name = f"transfers.{k - 1}"
                scores = [_linear(w, f"{name}.query", u) @ _linear(w, f"{name}.key", u) / 2.0 for u in (p, q)]
                share = np.exp(scores) / np.exp(scores).sum()
                z = share[0] * _linear(w, f"{name}.value", p) + share[1] * _linear(w, f"{name}.value", q)
            of_tasks.append(z)
        expected.append(of_tasks)
    np.testing.assert_allclose(layer(x).detach().numpy(), expected, atol=1e-9)
    assert count(layer) == tasks * 6 * 4 + (tasks - 1) * 4 * 5 * 4


def test_aitm_is_a_layer() -> None:
    torch.manual_seed(0)
    check_layer(AITM(5, 2, [4]), 5)


@pytest.mark.parametrize("units", [[], [4]])
def test_the_bottom_is_shared(units: list[int]) -> None:
    layer = SharedBottom(5, 3, units).double()
    x = rows(4, 5)
    expected = layer.mlp(x)
    for k in range(3):
        torch.testing.assert_close(layer(x)[:, k], expected)
    check_layer(layer, 5)


def test_there_is_a_task() -> None:
    with pytest.raises(ConfigError, match="num_tasks=0"):
        SharedBottom(5, 0, [])
    with pytest.raises(ConfigError, match="num_tasks=0"):
        AITM(5, 0, [4])
