"""The Transformer encoder: padding is never seen, positions count from the newest, gradients are right."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from distill.errors import ConfigError
from distill.layers.transformer import TransformerEncoder, TransformerLayer


def _encoder(max_length: int = 8) -> TransformerEncoder:
    torch.manual_seed(0)
    return TransformerEncoder(6, 2, 3, 0.0, max_length).double().eval()


def test_sequences_together_equal_each_alone_and_empty_is_zero() -> None:
    encoder, lengths = _encoder(), torch.tensor([3, 0, 5, 1])
    values = torch.randn(9, 6, dtype=torch.float64)
    together = encoder(values, lengths)
    for row, part in enumerate(values.split(lengths.tolist())):
        alone = encoder(part, torch.tensor([part.shape[0]]))
        torch.testing.assert_close(together[row], alone[0])
    assert torch.equal(together[1], torch.zeros(6, dtype=torch.float64))
    assert encoder(values[:0], torch.zeros(2, dtype=torch.int64)).tolist() == [[0.0] * 6] * 2


def test_old_values_share_the_last_position() -> None:
    encoder = _encoder(max_length=2)
    values = torch.randn(4, 6, dtype=torch.float64)
    swapped = values[[1, 0, 2, 3]]
    lengths = torch.tensor([4])
    torch.testing.assert_close(encoder(values, lengths), encoder(swapped, lengths))
    assert not torch.allclose(encoder(values, lengths), encoder(values[[0, 1, 3, 2]], lengths))


def test_layer_equals_its_equations_in_numpy() -> None:
    torch.manual_seed(1)
    layer = TransformerLayer(4, 2, 0.0).double().eval()
    x = torch.randn(1, 3, 4, dtype=torch.float64)
    weights = {name: value.detach().numpy() for name, value in layer.named_parameters()}

    def norm(a: np.ndarray, name: str) -> np.ndarray:
        a = (a - a.mean(-1, keepdims=True)) / np.sqrt(a.var(-1, keepdims=True) + 1e-5)
        return a * weights[f"{name}.weight"] + weights[f"{name}.bias"]

    def linear(a: np.ndarray, name: str) -> np.ndarray:
        return a @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    a = x[0].numpy()
    query, key, value = np.split(linear(norm(a, "norm_attention"), "project_in"), 3, axis=1)
    heads = []
    for head in (slice(0, 2), slice(2, 4)):
        scores = np.exp(query[:, head] @ key[:, head].T / np.sqrt(2))
        heads.append(scores / scores.sum(1, keepdims=True) @ value[:, head])
    a = a + linear(np.concatenate(heads, axis=1), "project_out")
    hidden = np.maximum(linear(norm(a, "norm_forward"), "forward_net.0"), 0)
    expected = a + linear(hidden, "forward_net.2")
    np.testing.assert_allclose(layer(x, None)[0].detach().numpy(), expected, atol=1e-9)


def test_gradients() -> None:
    encoder = _encoder()
    values = torch.randn(5, 6, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda v: encoder(v, torch.tensor([3, 2])), (values,))


def test_heads_must_divide_the_width() -> None:
    with pytest.raises(ConfigError, match="num_heads=4"):
        TransformerLayer(6, 4, 0.0)
