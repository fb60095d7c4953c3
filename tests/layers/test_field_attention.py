from __future__ import annotations

import numpy as np
import pytest

from distill.errors import ConfigError
from distill.layers.field_attention import FieldAttention
from tests.layers.checking import EQUAL, arrays, check_layer, count, randomise, rows, split


def _attend(
    weights: dict[str, np.ndarray], fields: list[np.ndarray], num_heads: int, head_dim: int
) -> list[np.ndarray]:
    width = num_heads * head_dim
    query, key, value = np.split(weights["project"], 3, axis=1)
    out = []
    for field in fields:
        heads = []
        for h in range(num_heads):
            own = slice(h * head_dim, (h + 1) * head_dim)
            scores = [(field @ query[:, own]) @ (other @ key[:, own]) / np.sqrt(head_dim) for other in fields]
            alpha = np.exp(scores) / np.exp(scores).sum()
            heads.append(sum(a * (other @ value[:, own]) for a, other in zip(alpha, fields, strict=True)))
        attended = np.concatenate(heads)
        if "residual.weight" in weights:
            attended = attended + weights["residual.weight"] @ field
        assert attended.shape == (width,)
        out.append(np.maximum(attended, 0))
    return out


@pytest.mark.parametrize("residual", [True, False])
@pytest.mark.parametrize(("num_layers", "num_heads", "head_dim"), [(1, 1, 4), (2, 3, 2)])
@pytest.mark.parametrize("widths", [*EQUAL, {"a": 3}])
def test_equals_numpy(widths: dict[str, int], num_layers: int, num_heads: int, head_dim: int, residual: bool) -> None:
    layer = FieldAttention(widths, num_layers, num_heads, head_dim, residual).double()
    randomise(layer)
    x = rows(3, sum(widths.values()))
    weights = [arrays(each) for each in layer.layers]
    expected = []
    for row in x.numpy():
        fields = split(row, widths)
        for own in weights:
            fields = _attend(own, fields, num_heads, head_dim)
        expected.append(np.concatenate(fields))
    np.testing.assert_allclose(layer(x).detach().numpy(), expected, atol=1e-9)


def test_weights_show_how_fields_read_each_other() -> None:
    layer = FieldAttention(EQUAL[1], 1, 2, 3, False).double().layers[0]
    randomise(layer)
    fields = rows(4, 10).view(4, 5, 2)
    weights = layer.weights(fields)
    assert weights.shape == (4, 2, 5, 5)
    np.testing.assert_allclose(weights.sum(3).detach().numpy(), 1)
    value = (fields @ layer.project[:, 12:]).view(4, 5, 2, 3).transpose(1, 2)
    expected = (weights @ value).transpose(1, 2).flatten(2).relu()
    np.testing.assert_allclose(layer(fields).detach().numpy(), expected.detach().numpy(), atol=1e-9)


@pytest.mark.parametrize("residual", [True, False])
def test_is_a_layer(residual: bool) -> None:
    layer = FieldAttention(EQUAL[1], 2, 2, 3, residual)
    blocks = 4 if residual else 3
    assert count(layer) == blocks * 6 * (2 + 6)
    check_layer(layer, 10)


@pytest.mark.parametrize(("sizes", "found"), [((0, 1, 2), "num_layers=0"), ((1, 0, 2), "num_heads=0")])
def test_wrong_sizes(sizes: tuple[int, int, int], found: str) -> None:
    with pytest.raises(ConfigError, match=found):
        FieldAttention(EQUAL[0], *sizes, residual=True)
