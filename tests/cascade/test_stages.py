"""Candidates pass the stages as a loop over requests says."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from distill.cascade import Cuts, Judged, Passed, by_rank, ranker_alone, run_stages
from distill.cascade.rerank import ItemView, RerankedPages
from distill.errors import ConfigError
from distill.serving import Rerank
from distill.serving.diversity import mmr

SIZES = [9, 3, 14, 1, 8]


def drawn(seed: int, covered: float = 1.0) -> tuple[Tensor, Judged]:
    """A student's scores, and candidates of requests of several sizes."""
    rng = np.random.default_rng(seed)
    index = torch.from_numpy(np.repeat(np.arange(len(SIZES)), SIZES))
    student, ranker = (torch.from_numpy(rng.normal(size=index.numel())) for _ in range(2))
    known = torch.from_numpy(rng.random(index.numel()) < covered)
    return student, Judged(index, len(SIZES), ranker, known)


def first(scores: Tensor, rows: list[int], count: int) -> list[int]:
    return sorted(rows, key=lambda row: -float(scores[row]))[:count]


@pytest.mark.parametrize("covered", [1.0, 0.6])
def test_the_stages_are_those_of_a_loop(covered: float) -> None:
    student, judged = drawn(0, covered)
    cuts = Cuts(6, 4, 3)
    found = run_stages(student, judged, cuts, by_rank(3))
    for request in range(judged.num_requests):
        rows = (judged.index == request).nonzero()[:, 0].tolist()
        preranked = first(student, rows, 6)
        ranked = first(judged.ranker, [row for row in preranked if judged.known[row]], 4)
        assert [row for row in rows if found.preranked[row]] == sorted(preranked)
        assert [int(found.ranked[row]) for row in ranked] == list(range(len(ranked)))
        assert [row for row in ranked if found.page[row] >= 0] == ranked[:3]
    assert int((found.page >= 0).sum()) == int((found.ranked >= 0).logical_and(found.ranked < 3).sum())


def test_the_ranker_alone_sees_all_that_it_scored() -> None:
    student, judged = drawn(1, 0.6)
    alone = ranker_alone(judged, Cuts(6, 4, 3), by_rank(3))
    everyone = run_stages(student, judged, Cuts(max(SIZES), 4, 3), by_rank(3))
    assert torch.equal(alone.page, everyone.page)
    assert not bool((alone.shown & ~judged.known).any())


def test_ties_are_broken_at_random_and_always_alike() -> None:
    index = torch.arange(200).repeat_interleave(10)
    judged = Judged(index, 200, torch.zeros(2000), torch.ones(2000, dtype=torch.bool))
    cuts = Cuts(5, 5, 5)
    found = [run_stages(torch.zeros(2000), judged, cuts, by_rank(5)).preranked for _ in range(2)]
    assert torch.equal(*found)
    by_place = found[0].view(200, 10).double().mean(0)
    assert float((by_place - 0.5).abs().max()) < 0.15  # no place of the log is preferred


def test_a_re_ranker_fills_pages_from_what_the_ranker_passed_on() -> None:
    student, judged = drawn(2)
    vectors = torch.from_numpy(np.random.default_rng(3).normal(size=(judged.index.numel(), 4)).astype(np.float32))
    items = ItemView(torch.arange(judged.index.numel()), vectors, {})
    pages = RerankedPages(Rerank(type="mmr", trade_off=0.3), 3, judged, items)
    found = run_stages(student, judged, Cuts(8, 6, 3), pages)
    for request in range(judged.num_requests):
        rows = ((judged.index == request) & (found.ranked >= 0)).nonzero()[:, 0]
        ranked = rows[torch.argsort(found.ranked[rows])]
        expected = ranked[torch.from_numpy(mmr(judged.ranker[ranked].numpy(), vectors[ranked].numpy(), 3, 0.3))]
        shown = ((judged.index == request) & found.shown).nonzero()[:, 0]
        assert torch.equal(shown[torch.argsort(found.page[shown])], expected)
    assert pages.requests == len(SIZES)
    assert pages.seconds > 0


def test_quotas_keep_categories_apart() -> None:
    judged = Judged(torch.zeros(6, dtype=torch.int64), 1, torch.arange(6.0).flip(0), torch.ones(6, dtype=torch.bool))
    codes = torch.tensor([0, 0, 0, 1, 1, 2])
    way = Rerank.model_validate({"type": "quotas", "quotas": [{"column": "brand", "most": 1}]})
    pages = RerankedPages(way, 3, judged, ItemView(torch.arange(6), None, {"brand": codes}))
    found: Passed = ranker_alone(judged, Cuts(6, 6, 3), pages)
    assert found.page.tolist() == [0, -1, -1, 1, -1, 2]


@pytest.mark.parametrize("sizes", [(2, 3, 1), (5, 2, 3), (5, 3, 0)])
def test_a_stage_passes_on_at_most_what_it_receives(sizes: tuple[int, int, int]) -> None:
    with pytest.raises(ConfigError, match="at most what it receives"):
        Cuts(*sizes)
