from __future__ import annotations

import numpy as np
import pytest

from distill.errors import ConfigError
from distill.layers.activation import Activation
from distill.layers.cin import CIN
from tests.layers.checking import EQUAL, arrays, check_layer, count, randomise, rows, split


@pytest.mark.parametrize("activation", ["identity", "relu"])
@pytest.mark.parametrize(("sizes", "split_half"), [([3], True), ([3, 2], False), ([4, 2, 3], True)])
@pytest.mark.parametrize("widths", EQUAL)
def test_equals_numpy(widths: dict[str, int], sizes: list[int], split_half: bool, activation: Activation) -> None:
    layer = CIN(widths, sizes, split_half, activation).double()
    randomise(layer)
    weights, x = arrays(layer), rows(3, sum(widths.values()))
    expected = []
    for row in x.numpy():
        fields = split(row, widths)
        maps, out = fields, []
        for k, size in enumerate(sizes):
            kernel = weights[f"weights.{k}"].reshape(size, len(maps), len(fields))
            produced = []
            for h in range(size):
                total = np.zeros(len(fields[0]))
                for i, one in enumerate(maps):
                    for j, other in enumerate(fields):
                        total += kernel[h, i, j] * one * other
                produced.append(np.maximum(total, 0) if activation == "relu" else total)
            half = size // 2 if split_half and k < len(sizes) - 1 else 0
            out += [vector.sum() for vector in produced[half:]]
            maps = produced[:half] if half else produced
        expected.append(out)
    np.testing.assert_allclose(layer(x).detach().numpy(), expected, atol=1e-9)
    assert layer.out_features == len(expected[0])


@pytest.mark.parametrize("split_half", [True, False])
def test_is_a_layer(split_half: bool) -> None:
    layer = CIN(EQUAL[1], [4, 6, 3], split_half, "identity")
    maps = [5, 2, 3] if split_half else [5, 4, 6]
    assert count(layer) == sum(size * before * 5 for size, before in zip([4, 6, 3], maps, strict=True))
    check_layer(layer, 10)


@pytest.mark.parametrize(("sizes", "split_half"), [([], False), ([0], False), ([3, 2], True)])
def test_wrong_sizes(sizes: list[int], split_half: bool) -> None:
    with pytest.raises(ConfigError) as error:
        CIN(EQUAL[0], sizes, split_half, "identity")
    assert error.value.where == "layer_sizes"
    assert error.value.found == str(sizes)
