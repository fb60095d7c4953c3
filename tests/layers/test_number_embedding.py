"""Embeddings of numbers equal their formulas, written out in NumPy."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from distill.layers.number_embedding import AutoDisEmbedding, PiecewiseLinearEmbedding
from tests.layers.checking import arrays, check_autocast, check_gradients, randomise, rows

BINS = {"a": 3, "b": 1, "keys": 2}


def _encoding(place: float, count: int) -> np.ndarray:
    """Equation 1 of the paper, of bins [0, 1), [1, 2), …"""
    z = np.zeros(count)
    for t in range(1, count + 1):
        if place < t - 1 and t > 1:
            z[t - 1] = 0
        elif place >= t and t < count:
            z[t - 1] = 1
        else:
            z[t - 1] = place - (t - 1)
    return z


def test_piecewise_linear_equals_numpy() -> None:
    layer = PiecewiseLinearEmbedding(BINS, 4, 0.1).double()
    randomise(layer)
    weights = arrays(layer)
    for place in (-7.5, -0.25, 0.0, 0.5, 1.0, 1.75, 2.0, 2.5, 3.0, 41.0):
        found = layer(torch.full((1, 3), place, dtype=torch.float64)).detach().numpy()[0]
        for row, (name, count) in enumerate(BINS.items()):
            wanted = weights[f"biases.of_{name}"] + _encoding(place, count) @ weights[f"weights.of_{name}"]
            np.testing.assert_allclose(found[row], wanted, rtol=1e-12)


def test_autodis_equals_numpy() -> None:
    layer = AutoDisEmbedding(["a", "b"], 5, 4, 0.1, temperature=0.7, skip=0.3).double()
    randomise(layer)
    weights, x = arrays(layer), rows(6, 2)
    found = layer(x).detach().numpy()
    for row, values in enumerate(x.numpy()):
        for place, name in enumerate("ab"):
            hidden = values[place] * weights[f"first.of_{name}"]
            hidden = np.where(hidden > 0, hidden, 0.01 * hidden)
            logits = (hidden @ weights[f"projection.of_{name}"] + 0.3 * hidden) / 0.7
            share = np.exp(logits) / np.exp(logits).sum()
            np.testing.assert_allclose(found[row, place], share @ weights[f"meta.of_{name}"], rtol=1e-10)


def _layers() -> list[nn.Module]:
    return [PiecewiseLinearEmbedding(BINS, 4, 0.1), AutoDisEmbedding([*BINS], 5, 4, 0.1, 0.5, 0.8)]


def test_batches_of_one_and_none_and_gradients() -> None:
    for layer in _layers():
        layer = layer.double()
        x = rows(5, 3, seed=7) + 0.3
        torch.testing.assert_close(layer(x[3:4]), layer(x)[3:4])
        assert layer(x[:0]).shape == (0, 3, 4)
        check_gradients(layer, x[:2])
        check_autocast(layer, x)


def test_the_middle_begins_about_as_wide_as_an_id() -> None:
    torch.manual_seed(0)
    for count in (2, 64):
        layer = PiecewiseLinearEmbedding({"a": count}, 4096, 0.05)
        assert 0.05 < float(layer(torch.full((1, 1), count / 2)).detach().std()) < 0.09
