from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from distill.errors import ConfigError
from distill.layers.bilinear import BilinearInteraction, BilinearKind
from tests.layers.checking import EQUAL, UNEQUAL, arrays, check_layer, count, randomise, rows, split

CASES: list[tuple[BilinearKind, dict[str, int]]] = [
    (kind, widths) for kind in ("field_all", "field_each", "field_interaction") for widths in EQUAL
]
CASES += [("field_interaction", widths) for widths in UNEQUAL]


def _kernel(weights: dict[str, np.ndarray], kind: BilinearKind, sizes: list[int], i: int, j: int) -> np.ndarray:
    if kind == "field_all":
        return weights["weight"][0]
    if kind == "field_each":
        return weights["weight"][i]
    start = sum(sizes[i + 1 : j])
    return weights[f"weights.{i}"][:, start : start + sizes[j]]


@pytest.mark.parametrize(("kind", "widths"), CASES)
def test_equals_numpy(kind: BilinearKind, widths: dict[str, int]) -> None:
    layer = BilinearInteraction(widths, kind).double()
    randomise(layer)
    weights, sizes = arrays(layer), list(widths.values())
    x = rows(4, sum(sizes))
    expected = []
    for row in x.numpy():
        fields, parts = split(row, widths), []
        for i in range(len(sizes)):
            for j in range(i + 1, len(sizes)):
                kernel = _kernel(weights, kind, sizes, i, j)
                parts += [
                    sum(fields[i][d] * kernel[d, e] for d in range(sizes[i])) * fields[j][e] for e in range(sizes[j])
                ]
        expected.append(parts)
    np.testing.assert_allclose(layer(x).detach().numpy(), expected, atol=1e-9)
    assert layer.out_features == len(expected[0])


@pytest.mark.parametrize(("kind", "widths"), CASES[1::2])
def test_is_a_layer(kind: BilinearKind, widths: dict[str, int]) -> None:
    layer = BilinearInteraction(widths, kind)
    sizes = list(widths.values())
    expected = {
        "field_all": sizes[0] ** 2,
        "field_each": (len(sizes) - 1) * sizes[0] ** 2,
        "field_interaction": sum(a * b for i, a in enumerate(sizes) for b in sizes[i + 1 :]),
    }
    assert count(layer) == expected[kind]
    check_layer(layer, sum(sizes))


def test_each_kernel_starts_by_its_own_shape() -> None:
    layer = BilinearInteraction({"a": 2, "b": 94, "c": 1}, "field_interaction")
    to_b, to_c = layer.weights[0].detach().split([94, 1], dim=1)
    assert 0.2 < float(to_b.abs().max()) <= (6 / 96) ** 0.5
    assert float(to_c.abs().max()) <= 2**0.5


def test_unknown_kind() -> None:
    kind: Any = "field_some"
    with pytest.raises(ConfigError, match="field_some"):
        BilinearInteraction(EQUAL[0], kind)
