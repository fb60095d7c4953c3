"""Sequences seen from candidates: where the host may not look at lengths, what it knows of them gives the same."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from distill.batch import Ragged
from distill.features.sequence import (
    SearchedAttentionEncoding,
    TargetAttentionEncoding,
    TargetEncoding,
    TargetTransformerEncoding,
)
from distill.layers.ragged import SequenceSizes, pair_with_values
from distill.layers.sequence_search import Keys
from distill.ops.waiting import as_on_a_device
from tests.no_sync import waits

WIDTH = 4
CASES = [([3, 0, 5, 1], [0, 0, 1, 2, 3, 3]), ([2], [0, 0, 0]), ([0, 0, 4], [0, 2, 2]), ([0], [0, 0]), ([3, 2], [])]
ENCODINGS: dict[str, Callable[[], TargetEncoding]] = {
    "attention": lambda: TargetAttentionEncoding((3, 2), "relu"),
    "transformer": lambda: TargetTransformerEncoding(1, 2, 0.0, 8),
    "soft search": lambda: SearchedAttentionEncoding((3,), "relu", top_k=2),
    "soft search of all": lambda: SearchedAttentionEncoding((3,), "relu", top_k=50),
    "hard search": lambda: SearchedAttentionEncoding((3,), "relu", top_k=2, search="hard"),
}


def computed(encoder: nn.Module, name: str, lengths: list[int], index: list[int], sizes: SequenceSizes) -> list[Tensor]:
    draw = torch.Generator().manual_seed(2)
    query = torch.randn(len(index), WIDTH, dtype=torch.float64, generator=draw).requires_grad_()
    values = torch.randn(sum(lengths), WIDTH, dtype=torch.float64, generator=draw).requires_grad_()
    weight = torch.randn(len(index), WIDTH, dtype=torch.float64, generator=draw)
    of_values, of_query = (torch.randint(2, 4, (count,), generator=draw) for count in (sum(lengths), len(index)))
    there = torch.tensor(lengths, dtype=torch.int64), torch.tensor(index, dtype=torch.int64)
    keys = (Keys(of_values, there[0], of_query),) if name == "hard search" else ()
    pooled, unused = encoder(query, values, *there, sizes, *keys)
    encoder.zero_grad()
    ((pooled * weight).sum() + (unused * weight[:, 0]).sum()).backward()
    leaves = [query, values, *encoder.parameters()]
    grads = [torch.zeros_like(leaf) if leaf.grad is None else leaf.grad for leaf in leaves]
    return [pooled.detach(), unused.detach(), *grads]


@pytest.mark.parametrize(("lengths", "index"), CASES)
@pytest.mark.parametrize("name", ENCODINGS)
def test_values_and_gradients_are_those_of_the_host(name: str, lengths: list[int], index: list[int]) -> None:
    torch.manual_seed(0)
    encoder = ENCODINGS[name]().build(WIDTH)
    assert encoder is not None
    encoder.double()
    wanted = computed(encoder, name, lengths, index, SequenceSizes())
    longest, pairs = max(lengths), sum(lengths[request] for request in index)
    for known in ((longest, pairs), (longest + 2, pairs + 5), (None, None)):
        with as_on_a_device():
            found = computed(encoder, name, lengths, index, SequenceSizes(*known))
        torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", ENCODINGS)
def test_nothing_waits(name: str) -> None:
    encoder = ENCODINGS[name]().build(WIDTH)
    assert encoder is not None
    lengths, index = torch.tensor([3, 0, 5]), torch.tensor([0, 0, 1, 2])
    query, values = torch.randn(4, WIDTH, requires_grad=True), torch.randn(8, WIDTH, requires_grad=True)
    keys = (Keys(torch.arange(8), lengths, torch.arange(4)),) if name == "hard search" else ()
    with waits() as found:
        encoder(query, values, lengths, index, SequenceSizes(6, 14), *keys)[0].sum().backward()
    assert found == []


def test_there_are_no_more_pairs_than_were_asked_for() -> None:
    lengths, index = torch.tensor([3, 0, 5]), torch.tensor([0, 0, 1, 2])
    with as_on_a_device():
        pairs = pair_with_values(lengths, index, 16)
    wanted = pair_with_values(lengths, index, 16)
    assert wanted.real is None
    assert pairs.real is not None
    assert pairs.value.shape == (16,)
    assert int(pairs.real.sum()) == 11
    assert torch.equal(pairs.value[pairs.real], wanted.value)
    assert torch.equal(pairs.candidate[pairs.real], wanted.candidate)


def test_the_host_counts_what_candidates_see() -> None:
    ragged = Ragged(torch.arange(8), torch.tensor([3, 0, 5]))
    found = ragged.measured(np.array([2, 4]))  # the last request has no candidate
    assert (found.longest, found.seen) == (5, 6)
    assert ragged.measured().seen is None
