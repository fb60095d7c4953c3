"""Target attention with the zero vector, on sequences without padding that candidates of a request share."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch.nn import functional

from distill.errors import ConfigError
from distill.layers.ragged import append_target, pair_with_values
from distill.layers.target_attention import TargetAttention
from tests.layers.checking import arrays, check_gradients, count, randomise, rows

LENGTHS = ([3, 0, 5, 1], [2], [0, 0, 4])
INDEX = ([0, 0, 1, 3, 3, 3], [0, 0, 0], [2, 0, 2])


def _layer(units: tuple[int, ...] = (4,)) -> TargetAttention:
    layer = TargetAttention(3, units, "tanh").double()
    randomise(layer)
    return layer


def _score(w: dict[str, np.ndarray], query: np.ndarray, key: np.ndarray, num_layers: int) -> float:
    hidden = w["from_query.weight"] @ query + w["from_query.bias"]
    hidden = np.tanh(hidden + w["from_value.weight"] @ key + w["from_product.weight"] @ (query * key))
    for layer in range(num_layers - 1):
        hidden = np.tanh(w[f"score.1.blocks.{layer}.0.weight"] @ hidden + w[f"score.1.blocks.{layer}.0.bias"])
    return float((w["score.2.weight"] @ hidden + w["score.2.bias"])[0])


@pytest.mark.parametrize("units", [(4,), (4, 2)])
@pytest.mark.parametrize(("lengths", "index"), list(zip(LENGTHS, INDEX, strict=True)))
def test_equals_numpy(lengths: list[int], index: list[int], units: tuple[int, ...]) -> None:
    layer = _layer(units)
    w, query, values = arrays(layer), rows(len(index), 3), rows(sum(lengths), 3, seed=1)
    found = layer(query, values, torch.tensor(lengths), torch.tensor(index))
    starts = np.cumsum([0, *lengths])
    pooled, zeros, weights = [], [], []
    for one, request in zip(query.numpy(), index, strict=True):
        keys = [*values.numpy()[starts[request] : starts[request + 1]], np.zeros(3)]
        scores = np.exp([_score(w, one, key, len(units)) for key in keys])
        share = scores / scores.sum()
        pooled.append(sum(a * key for a, key in zip(share, keys, strict=True)))
        zeros.append(share[-1])
        weights.extend(share[:-1])
    np.testing.assert_allclose(found.pooled.detach().numpy(), pooled, atol=1e-9)
    np.testing.assert_allclose(found.zero_weight.detach().numpy(), zeros, atol=1e-9)
    np.testing.assert_allclose(found.weights.detach().numpy(), weights, atol=1e-9)


def test_a_candidate_alone_scores_as_among_others() -> None:
    layer, query, values = _layer(), rows(6, 3), rows(9, 3, seed=1)
    lengths, index = torch.tensor(LENGTHS[0]), torch.tensor(INDEX[0])
    together = layer(query, values, lengths, index)
    alone = layer(query[4:5], values[8:], lengths[3:], torch.tensor([0]))
    torch.testing.assert_close(alone.pooled, together.pooled[4:5])


def test_without_history_all_weight_is_on_the_zero_vector() -> None:
    layer = _layer()
    found = layer(rows(2, 3), rows(0, 3), torch.zeros(3, dtype=torch.int64), torch.tensor([0, 2]))
    assert found.pooled.tolist() == [[0.0] * 3] * 2
    assert found.zero_weight.tolist() == [1.0, 1.0]
    assert found.weights.shape == (0,)


def test_without_candidates() -> None:
    found = _layer()(rows(0, 3), rows(2, 3), torch.tensor([2]), torch.zeros(0, dtype=torch.int64))
    assert (found.pooled.shape, found.zero_weight.shape, found.weights.shape) == ((0, 3), (0,), (0,))


def test_it_learns_to_ignore_a_history_that_says_nothing() -> None:
    """Values are noise for half of the queries: there the weight moves to the zero vector."""
    torch.manual_seed(0)
    layer = TargetAttention(2, [8], "relu")
    query = torch.tensor([[1.0, 0.0], [0.0, 1.0]]).repeat(32, 1)
    values, lengths, index = torch.randn(64 * 3, 2), torch.full((64,), 3), torch.arange(64)
    wanted = values.view(64, 3, 2).mean(1) * query[:, :1]
    optimizer = torch.optim.Adam(layer.parameters(), 0.05)
    for _ in range(150):
        loss = functional.mse_loss(layer(query, values, lengths, index).pooled, wanted)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    zero_weight = layer(query, values, lengths, index).zero_weight.detach().view(32, 2).mean(0)
    assert float(zero_weight[1]) > 0.9
    assert float(zero_weight[0]) < 0.2


def test_large_scores_do_not_overflow() -> None:
    layer = _layer().float()
    with torch.no_grad():
        layer.score[-1].weight.mul_(1e4)
    found = layer(rows(3, 3).float(), rows(2, 3).float(), torch.tensor([2]), torch.zeros(3, dtype=torch.int64))
    assert bool(found.pooled.isfinite().all())


def test_gradients() -> None:
    layer, lengths, index = _layer((3, 2)), torch.tensor([2, 0, 1]), torch.tensor([0, 0, 1, 2])

    class Pooled(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = layer

        def forward(self, query: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
            attended = self.layer(query, values, lengths, index)
            return torch.cat([attended.pooled, attended.zero_weight.unsqueeze(1)], dim=1)

    check_gradients(Pooled(), rows(4, 3), rows(3, 3, seed=1))


def test_bf16_autocast() -> None:
    layer = copy.deepcopy(_layer()).float()
    query, values = rows(6, 3).float(), rows(9, 3, seed=1).float().requires_grad_()
    lengths, index = torch.tensor(LENGTHS[0]), torch.tensor(INDEX[0])
    expected = layer(query, values, lengths, index)
    with torch.autocast("cpu", torch.bfloat16):
        found = layer(query, values, lengths, index)
        half = layer(query.bfloat16(), values.bfloat16(), lengths, index)
    assert half.zero_weight.dtype == torch.float32
    torch.testing.assert_close(half.pooled.float(), expected.pooled, atol=0.05, rtol=0)
    torch.testing.assert_close(found.pooled, expected.pooled, atol=0.05, rtol=0)
    found.pooled.sum().backward()
    assert values.grad is not None
    assert bool(values.grad.isfinite().all())


def test_parameters_and_arguments() -> None:
    assert count(TargetAttention(3, [4, 2], "relu")) == (3 * 3 + 1) * 4 + (4 + 1) * 2 + (2 + 1)
    with pytest.raises(ConfigError, match="hidden_units"):
        TargetAttention(3, [], "relu")
    with pytest.raises(ConfigError, match="width=0"):
        TargetAttention(0, [2], "relu")


@pytest.mark.parametrize(("lengths", "index"), list(zip(LENGTHS, INDEX, strict=True)))
def test_pairs_and_appended_targets_equal_a_loop(lengths: list[int], index: list[int]) -> None:
    values, target = rows(sum(lengths), 2), rows(len(index), 2, seed=1)
    starts = np.cumsum([0, *lengths])
    pairs, sequences = [], []
    for candidate, request in enumerate(index):
        own = range(starts[request], starts[request + 1])
        pairs += [(candidate, row) for row in own]
        sequences.append(torch.cat([values[starts[request] : starts[request + 1]], target[candidate : candidate + 1]]))
    found = pair_with_values(torch.tensor(lengths), torch.tensor(index))
    assert list(zip(found.candidate.tolist(), found.value.tolist(), strict=True)) == pairs
    appended, new_lengths = append_target(values, torch.tensor(lengths), torch.tensor(index), target)
    assert torch.equal(appended, torch.cat(sequences))
    assert new_lengths.tolist() == [len(sequence) for sequence in sequences]
