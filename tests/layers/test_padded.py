"""Padded sequences give what ragged ones give: exported models read them so."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from distill.features.lookup import embedding_mean
from distill.layers.ragged import append_target
from distill.layers.target_attention import TargetAttention
from distill.layers.transformer import TransformerEncoder

LENGTHS = torch.tensor([3, 0, 1, 5])
REQUEST_INDEX = torch.tensor([0, 0, 1, 2, 3, 3])


def padded(values: Tensor, lengths: Tensor, longest: int) -> Tensor:
    """The same sequences with rows of rubbish behind them."""
    out = torch.full((len(lengths), longest, *values.shape[1:]), 9, dtype=values.dtype)
    for row, part in enumerate(values.split(lengths.tolist())):
        out[row, : len(part)] = part
    return out


@pytest.fixture
def values() -> Tensor:
    return torch.randn(int(LENGTHS.sum()), 4, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("longest", [5, 8])
def test_mean(longest: int) -> None:
    weight, ids = torch.randn(12, 4), torch.arange(9)
    wanted = embedding_mean(weight, ids, LENGTHS)
    torch.testing.assert_close(embedding_mean(weight, padded(ids, LENGTHS, longest), LENGTHS), wanted)


@pytest.mark.parametrize("longest", [5, 8])
@torch.no_grad()
def test_transformer(values: Tensor, longest: int) -> None:
    encoder = TransformerEncoder(4, 2, 2, 0.0, 3).eval()
    wanted = encoder(values, LENGTHS)
    torch.testing.assert_close(encoder(padded(values, LENGTHS, longest), LENGTHS), wanted, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("longest", [5, 8])
@torch.no_grad()
def test_target_attention(values: Tensor, longest: int) -> None:
    attention, query = TargetAttention(4, [8, 3], "prelu").eval(), torch.randn(6, 4)
    wanted = attention(query, values, LENGTHS, REQUEST_INDEX)
    found = attention(query, padded(values, LENGTHS, longest), LENGTHS, REQUEST_INDEX)
    torch.testing.assert_close(found.pooled, wanted.pooled, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(found.zero_weight, wanted.zero_weight, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(found.weights[found.weights > 0], wanted.weights, atol=1e-6, rtol=1e-5)


def test_target_behind_the_sequence(values: Tensor) -> None:
    target = torch.randn(6, 4)
    wanted, counts = append_target(values, LENGTHS, REQUEST_INDEX, target)
    found, of_found = append_target(padded(values, LENGTHS, 7), LENGTHS, REQUEST_INDEX, target)
    assert torch.equal(of_found, counts)
    kept = torch.arange(8) < counts.unsqueeze(1)
    assert torch.equal(found[kept], wanted)
