from __future__ import annotations

import numpy as np
import pytest
import torch

from distill.layers.field_norm import FieldNorm
from tests.layers.checking import EQUAL, UNEQUAL, arrays, check_layer, count, randomise, rows, split


@pytest.mark.parametrize("widths", [*EQUAL, *UNEQUAL])
def test_equals_numpy(widths: dict[str, int]) -> None:
    layer = FieldNorm(widths).double()
    randomise(layer)
    w, x, expected = arrays(layer), rows(5, sum(widths.values())), []
    for row in x.numpy():
        fields = [f if len(f) == 1 else (f - f.mean()) / np.sqrt(f.var() + 1e-5) for f in split(row, widths)]
        expected.append(np.concatenate(fields) * w["weight"] + w["bias"])
    np.testing.assert_allclose(layer(x).detach().numpy(), expected, rtol=2e-5, atol=2e-5)


def test_is_a_layer() -> None:
    layer = FieldNorm(UNEQUAL[1])
    assert count(layer) == 2 * 10
    check_layer(layer, 10)


def test_a_number_keeps_its_size() -> None:
    layer = FieldNorm({"a": 2, "price": 1})
    found = layer(torch.tensor([[1.0, 3.0, 7.0], [1.0, 3.0, -70.0]])).detach()
    torch.testing.assert_close(found, torch.tensor([[-1.0, 1.0, 7.0], [-1.0, 1.0, -70.0]]), atol=1e-4, rtol=1e-4)
