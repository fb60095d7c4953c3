"""LightSE against its equation."""

import numpy as np
import pytest
import torch

from distill.layers.light_se import LightSE

WIDTHS = {"a": 2, "b": 3, "c": 1}


def _softmax(z: np.ndarray) -> np.ndarray:
    e = np.exp(z - z.max())
    return e / e.sum()


@pytest.mark.parametrize("rows", [1, 5])
def test_is_its_equation(rows: int) -> None:
    torch.manual_seed(0)
    layer = LightSE(WIDTHS).double()
    torch.nn.init.normal_(layer.excite.bias)
    x = torch.randn(rows, 6, dtype=torch.float64)
    w, b = layer.excite.weight.detach().numpy(), layer.excite.bias.detach().numpy()
    expected = []
    for row in x.numpy():
        fields = [row[:2], row[2:5], row[5:]]
        a = _softmax(w @ np.array([f.mean() for f in fields]) + b)
        expected.append(np.concatenate([f + s * f for f, s in zip(fields, a, strict=True)]))
    np.testing.assert_allclose(layer(x).detach().numpy(), np.stack(expected), rtol=1e-9)


def test_gradients_and_parameters() -> None:
    torch.manual_seed(0)
    layer = LightSE(WIDTHS).double()
    x = torch.randn(3, 6, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(layer, (x,))
    assert sum(p.numel() for p in layer.parameters()) == 3 * 3 + 3
