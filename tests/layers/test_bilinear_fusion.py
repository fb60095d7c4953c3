from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from distill.errors import ConfigError
from distill.layers.bilinear_fusion import BilinearFusion
from tests.layers.checking import arrays, check_layer, count, randomise, rows


@pytest.mark.parametrize(("first", "second", "heads"), [(4, 6, 1), (4, 6, 2), (3, 3, 3)])
def test_a_linear_head_behind_it_is_the_fusion_of_the_paper(first: int, second: int, heads: int) -> None:
    layer = nn.Sequential(BilinearFusion(first, second, heads), nn.Linear(first + 2 * second, 1)).double()
    randomise(layer)
    w, x, y = arrays(layer), rows(5, first), rows(5, second, seed=1)
    head, a, b = w["1.weight"][0], first // heads, second // heads
    expected = []
    for o1, o2 in zip(x.numpy(), y.numpy(), strict=True):
        total = w["1.bias"][0] + head[:first] @ o1 + head[first : first + second] @ o2
        for h in range(heads):
            matrix = w["0.weight"][h] * head[first + second + h * b : first + second + (h + 1) * b]
            total += o1[h * a : (h + 1) * a] @ matrix @ o2[h * b : (h + 1) * b]
        expected.append([total])
    found = layer[1](layer[0](x, y))
    np.testing.assert_allclose(found.detach().numpy(), expected, atol=1e-9)
    assert count(layer[0]) == heads * a * b


class _OfOneRow(nn.Module):
    """The fusion of the two halves of a row."""

    def __init__(self, first: int, second: int, num_heads: int) -> None:
        super().__init__()
        self.sizes, self.fusion = [first, second], BilinearFusion(first, second, num_heads)
        self.out_features = self.fusion.out_features

    def forward(self, x: Tensor) -> Tensor:
        fused: Tensor = self.fusion(*x.split_with_sizes(self.sizes, dim=1))
        return fused


def test_is_a_layer() -> None:
    check_layer(_OfOneRow(4, 6, 2), 10)


def test_heads_are_equal_parts() -> None:
    with pytest.raises(ConfigError, match="a divisor of 4 and of 6"):
        BilinearFusion(4, 6, 4)
    with pytest.raises(ConfigError, match="num_heads=0"):
        BilinearFusion(4, 6, 0)


def test_one_head_sees_all_products() -> None:
    layer = BilinearFusion(2, 2, 1)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[[1.0, 2.0], [3.0, 4.0]]]))
    found = layer(torch.tensor([[1.0, 10.0]]), torch.tensor([[1.0, -1.0]]))
    assert found.tolist() == [[1.0, 10.0, 1.0, -1.0, 31.0, -42.0]]
