from __future__ import annotations

import numpy as np
import pytest
import torch

from distill.errors import ConfigError
from distill.features import FieldLayout
from distill.layers.wukong import FactorizationBlock, LinearCompression, WuKongLayer, WuKongStack
from distill.models.bodies.wukong import WuKong
from tests.layers.checking import EQUAL, UNEQUAL, arrays, check_layer, count, randomise, rows

Weights = dict[str, np.ndarray]


def _normed(x: np.ndarray, w: Weights, name: str) -> np.ndarray:
    scaled = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
    return scaled * w[f"{name}.weight"] + w[f"{name}.bias"]


def _block(x: np.ndarray, w: Weights, prefix: str = "") -> np.ndarray:
    """Of one row's embeddings `[n, D]`: all dot products first, as the formula has it."""
    products = np.array([[a @ b for b in x] for a in x])
    hidden = _normed((products @ w[f"{prefix}project"]).reshape(-1), w, f"{prefix}norm")
    hidden = np.maximum(w[f"{prefix}mlp.blocks.0.0.weight"] @ hidden + w[f"{prefix}mlp.blocks.0.0.bias"], 0)
    return (w[f"{prefix}out.weight"] @ hidden + w[f"{prefix}out.bias"]).reshape(-1, x.shape[1])


def _layer(x: np.ndarray, w: Weights, prefix: str = "") -> np.ndarray:
    made = [_block(x, w, f"{prefix}fm.")]
    if f"{prefix}linear.weight" in w:
        made.append(w[f"{prefix}linear.weight"] @ x)
    of_input = w[f"{prefix}residual.weight"] @ x if f"{prefix}residual.weight" in w else x
    return _normed(np.concatenate(made) + of_input, w, f"{prefix}norm")


def test_a_block_equals_numpy() -> None:
    layer = FactorizationBlock(5, 3, 4, 2, [6]).double()
    randomise(layer)
    x = rows(4, 15).unflatten(1, (5, 3))
    expected = [_block(row, arrays(layer)) for row in x.numpy()]
    np.testing.assert_allclose(layer(x).detach().numpy(), expected, rtol=1e-9, atol=1e-9)
    assert count(layer) == 5 * 2 + 2 * 10 + 11 * 6 + 7 * 12


def test_a_compression_mixes_embeddings() -> None:
    layer = LinearCompression(2, 1).double()
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[2.0, -1.0]]))
    x = torch.tensor([[[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]]).double()
    assert layer(x).tolist() == [[[-2.0, -1.0, 0.0]]]


@pytest.mark.parametrize(("fm", "linear"), [(3, 2), (4, 4), (5, 0)])
def test_a_layer_equals_numpy(fm: int, linear: int) -> None:
    layer = WuKongLayer(5, 3, fm, linear, 2, [6]).double()
    randomise(layer)
    x = rows(4, 15).unflatten(1, (5, 3))
    expected = [_layer(row, arrays(layer)) for row in x.numpy()]
    np.testing.assert_allclose(layer(x).detach().numpy(), expected, rtol=1e-9, atol=1e-9)
    assert (fm + linear == 5) == isinstance(layer.residual, torch.nn.Identity)


def test_a_stack_equals_numpy() -> None:
    stack = WuKongStack(EQUAL[1], 3, 3, 3, 2, [6]).double()
    randomise(stack)
    x, w, expected = rows(4, 10), arrays(stack), []
    for row in x.numpy():
        embeddings = row.reshape(5, 2)
        for number in range(3):
            embeddings = _layer(embeddings, w, f"layers.{number}.")
        expected.append(embeddings.reshape(-1))
    np.testing.assert_allclose(stack(x).detach().numpy(), expected, rtol=1e-7, atol=1e-7)
    assert stack.out_features == len(expected[0])


def test_the_body_is_an_mlp_of_the_stack_of_projected_fields() -> None:
    body = WuKong(FieldLayout(UNEQUAL[1]), 4, 2, 3, 2, 2, [6], [7], 0.0).double()
    randomise(body)
    w, x = arrays(body), rows(4, 10)
    embeddings = body.stack.project(x).detach().numpy().reshape(4, 4, 4)
    expected = []
    for row in embeddings:
        for number in range(2):
            row = _layer(row, w, f"stack.layer.layers.{number}.")
        hidden = w["mlp.blocks.0.0.weight"] @ row.reshape(-1) + w["mlp.blocks.0.0.bias"]
        expected.append(np.maximum(hidden, 0))
    np.testing.assert_allclose(body(x).detach().numpy(), expected, rtol=1e-7, atol=1e-7)


def test_is_a_layer() -> None:
    torch.manual_seed(0)
    check_layer(WuKongStack(EQUAL[1], 2, 2, 2, 2, [4]), 10)


@pytest.mark.parametrize(("layers", "fm", "linear", "rank"), [(0, 2, 2, 2), (1, 0, 2, 2), (1, 2, -1, 2), (1, 2, 2, 0)])
def test_sizes_without_embeddings_are_refused(layers: int, fm: int, linear: int, rank: int) -> None:
    with pytest.raises(ConfigError, match="at least 1"):
        WuKongStack(EQUAL[0], layers, fm, linear, rank, [4])
