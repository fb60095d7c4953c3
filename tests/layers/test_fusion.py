from __future__ import annotations

import numpy as np
import pytest
import torch

from distill.layers.fusion import AttentionFusion
from tests.layers.checking import EQUAL, arrays, check_layer, count, randomise, rows, split


@pytest.mark.parametrize("widths", [*EQUAL, {"a": 4}])
def test_equals_numpy(widths: dict[str, int]) -> None:
    layer = AttentionFusion(widths).double()
    randomise(layer)
    w, x, expected = arrays(layer), rows(4, sum(widths.values())), []
    for row in x.numpy():
        logits = np.array([sum(line * row) for line in w["attention.weight"]]) + w["attention.bias"]
        weights = np.exp(logits) / np.exp(logits).sum()
        expected.append(sum(a * channel for a, channel in zip(weights, split(row, widths), strict=True)))
    np.testing.assert_allclose(layer(x).detach().numpy(), expected, atol=1e-9)


def test_starts_as_the_mean_of_the_channels() -> None:
    x = rows(4, 10)
    torch.testing.assert_close(AttentionFusion(EQUAL[1]).double()(x), x.view(4, 5, 2).mean(1))


def test_is_a_layer() -> None:
    layer = AttentionFusion(EQUAL[1])
    assert count(layer) == 5 * (10 + 1)
    randomise(layer)
    check_layer(layer, 10)
