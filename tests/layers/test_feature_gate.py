from __future__ import annotations

import numpy as np
import pytest
import torch

from distill.errors import ConfigError
from distill.layers.feature_gate import FeatureGate
from tests.layers.checking import UNEQUAL, arrays, check_layer, count, randomise, rows, split

WIDTHS = UNEQUAL[1]


@pytest.mark.parametrize("context", [(), ("b",), ("d", "a")])
def test_equals_numpy(context: tuple[str, ...]) -> None:
    layer = FeatureGate(WIDTHS, context, 3, [4]).double()
    randomise(layer)
    w, x, expected = arrays(layer), rows(4, 10), []
    for row in x.numpy():
        fields = dict(zip(WIDTHS, split(row, WIDTHS), strict=True))
        c = np.concatenate([fields[n] for n in WIDTHS if n in context]) if context else w["context"]
        hidden = np.maximum(w["mlp.blocks.0.0.weight"] @ c + w["mlp.blocks.0.0.bias"], 0)
        expected.append(row * 2 / (1 + np.exp(-(w["gate.weight"] @ hidden + w["gate.bias"]))))
    np.testing.assert_allclose(layer(x).detach().numpy(), expected, atol=1e-9)


@pytest.mark.parametrize(("context", "inputs"), [((), 3), (("b", "c"), 6)])
def test_is_a_layer(context: tuple[str, ...], inputs: int) -> None:
    layer = FeatureGate(WIDTHS, context, 3, [4])
    assert count(layer) == (0 if context else 3) + (inputs + 1) * 4 + 5 * 10
    randomise(layer)
    check_layer(layer, 10)


def test_a_learned_context_opens_the_same_gate_for_all_rows() -> None:
    layer = FeatureGate(WIDTHS, (), 3, [4]).double()
    x = rows(4, 10)
    torch.testing.assert_close(layer(x) / x, (layer(x) / x)[:1].expand(4, 10))


def test_unknown_fields_are_named() -> None:
    with pytest.raises(ConfigError, match="nobody"):
        FeatureGate(WIDTHS, ("a", "nobody"), 3, [4])
