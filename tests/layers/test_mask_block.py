from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from distill.errors import ConfigError
from distill.features import FieldLayout
from distill.layers.mask_block import MaskBlock
from distill.models.bodies.mask_net import MaskNet
from tests.layers.checking import UNEQUAL, arrays, check_layer, count, randomise, rows, split

WIDTHS = UNEQUAL[1]


def _block(w: dict[str, np.ndarray], v: np.ndarray, x: np.ndarray) -> np.ndarray:
    """One block of one row, weights by name."""
    mask = w["mask.2.weight"] @ np.maximum(w["mask.0.weight"] @ x + w["mask.0.bias"], 0) + w["mask.2.bias"]
    mapped = w["map.weight"] @ (mask * v)
    normed = (mapped - mapped.mean()) / np.sqrt(mapped.var() + 1e-5)
    return np.maximum(normed * w["norm.weight"] + w["norm.bias"], 0)


def _inner(w: dict[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    return {name.removeprefix(prefix): value for name, value in w.items() if name.startswith(prefix)}


def test_a_block_equals_numpy() -> None:
    layer = MaskBlock(3, 5, 4, 1.5).double()
    randomise(layer)
    w, v, x = arrays(layer), rows(4, 3), rows(4, 5, seed=1)
    expected = [_block(w, a, b) for a, b in zip(v.numpy(), x.numpy(), strict=True)]
    np.testing.assert_allclose(layer(v, x).detach().numpy(), expected, atol=1e-9)
    assert count(layer) == (5 + 1) * 4 + (4 + 1) * 3 + 3 * 4 + 2 * 4


@pytest.mark.parametrize("structure", ["parallel", "serial"])
@pytest.mark.parametrize("units", [[], [3]])
def test_the_body_equals_numpy(structure: str, units: list[int]) -> None:
    body = MaskNet(FieldLayout(WIDTHS), structure, [4, 6], 0.5, units, 0.0).double()  # type: ignore[arg-type]
    randomise(body)
    w, x, expected = arrays(body), rows(4, 10), []
    for row in x.numpy():
        fields = [f if len(f) == 1 else (f - f.mean()) / np.sqrt(f.var() + 1e-5) for f in split(row, WIDTHS)]
        normed = np.concatenate(fields) * w["norm.weight"] + w["norm.bias"]
        first, second = _inner(w, "blocks.0."), _inner(w, "blocks.1.")
        out = _block(first, normed, row)
        if structure == "parallel":
            out = np.concatenate([out, _block(second, normed, row)])
        else:
            out = _block(second, out, row)
        if units:
            out = np.maximum(w["mlp.blocks.0.0.weight"] @ out + w["mlp.blocks.0.0.bias"], 0)
        expected.append(out)
    np.testing.assert_allclose(body(x).detach().numpy(), expected, rtol=1e-4, atol=1e-4)
    assert body.out_features == len(expected[0])


class _OfOneRow(nn.Module):
    """A block that reads the row that decides its mask."""

    def __init__(self) -> None:
        super().__init__()
        self.block = MaskBlock(5, 5, 4, 1.0)
        self.out_features = 4

    def forward(self, x: Tensor) -> Tensor:
        hidden: Tensor = self.block(x, x)
        return hidden


def test_is_a_layer() -> None:
    torch.manual_seed(0)
    check_layer(_OfOneRow(), 5)


def test_a_mask_without_units_is_refused() -> None:
    with pytest.raises(ConfigError, match="mask_ratio"):
        MaskBlock(3, 5, 4, 0.0)
