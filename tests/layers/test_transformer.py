"""The Transformer encoder: padding is never seen, positions count from the newest, gradients are right."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from distill.errors import ConfigError
from distill.layers.ragged import append_target
from distill.layers.transformer import TransformerEncoder, TransformerLayer
from tests.layers.checking import arrays, count, randomise, rows


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


def test_encoder_equals_its_layers_and_positions_by_a_loop() -> None:
    encoder, lengths = _encoder(max_length=3), [4, 1, 0, 2]
    randomise(encoder)
    values = rows(7, 6)
    position, weights = arrays(encoder)["position"], arrays(encoder.norm)
    expected = []
    for own in values.split(lengths):
        n = own.shape[0]
        if n == 0:
            expected.append(np.zeros(6))
            continue
        x = own.numpy() + np.array([position[min(n - 1 - place, 2)] for place in range(n)]).reshape(n, 6)
        hidden = torch.from_numpy(x).unsqueeze(0)
        for layer in encoder.layers:
            hidden = layer(hidden, None)
        a = hidden[0].detach().numpy()
        a = (a - a.mean(1, keepdims=True)) / np.sqrt(a.var(1, keepdims=True) + 1e-5) * weights["weight"] + weights[
            "bias"
        ]
        expected.append(a.mean(0))
    np.testing.assert_allclose(encoder(values, torch.tensor(lengths)).detach().numpy(), expected, atol=1e-9)


def test_the_newest_value_sees_older_and_older_see_newer() -> None:
    """There is no causal mask: a change of the last value reaches the first position."""
    layer = TransformerLayer(4, 2, 0.0).eval()
    x = torch.randn(1, 3, 4)
    changed = x.clone()
    changed[0, 2] *= -1
    assert not torch.allclose(layer(x, None)[0, 0], layer(changed, None)[0, 0])


def test_parameters_no_sequences_and_bf16() -> None:
    encoder = TransformerEncoder(6, 2, 3, 0.0, 8)
    assert count(encoder) == 8 * 6 + 2 * (4 * 6 * 6 + 4 * 6 + 8 * 6 * 6 + 5 * 6 + 4 * 6) + 2 * 6
    assert encoder(torch.zeros(0, 6), torch.zeros(0, dtype=torch.int64)).shape == (0, 6)
    values, lengths = torch.randn(5, 6), torch.tensor([3, 0, 2])
    expected = encoder(values, lengths)
    with torch.autocast("cpu", torch.bfloat16):
        found = encoder(values, lengths)
    torch.testing.assert_close(found.float(), expected, atol=0.1, rtol=0)


def test_a_target_at_the_end_of_its_requests_sequence() -> None:
    """Each candidate's sequence is encoded as if it stood alone: what a ranker over target and history needs."""
    encoder, lengths, index = _encoder(), torch.tensor([2, 0]), torch.tensor([0, 0, 1])
    values, target = rows(2, 6), rows(3, 6, seed=1)
    found = encoder(*append_target(values, lengths, index, target))
    alone = encoder(torch.cat([values, target[1:2]]), torch.tensor([3]))
    torch.testing.assert_close(found[1:2], alone)
    torch.testing.assert_close(found[2:], encoder(target[2:], torch.tensor([1])))


def test_gradients() -> None:
    encoder = _encoder()
    values = torch.randn(5, 6, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda v: encoder(v, torch.tensor([3, 2])), (values,))


def test_heads_must_divide_the_width() -> None:
    with pytest.raises(ConfigError, match="num_heads=4"):
        TransformerLayer(6, 4, 0.0)
