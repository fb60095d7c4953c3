"""Ways to fill a page are measured as a loop over requests measures them."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from distill.cascade import Cuts, Judged, by_rank, ranker_alone
from distill.cascade.rerank import ItemView, RerankedPages
from distill.cascade.ways import MEASURES, Sweep, measure_ways
from tests.cascade.test_stages import drawn

SWEEP = Sweep(trade_offs=(1.0, 0.4), category="brand", most=1)


def test_each_way_is_measured_as_a_loop_measures_it() -> None:
    _, judged = drawn(4)
    n, rng = judged.index.numel(), np.random.default_rng(0)
    vectors = torch.from_numpy(rng.normal(size=(n, 3)).astype(np.float32))
    codes, value = torch.from_numpy(rng.integers(0, 3, n)), torch.from_numpy(rng.random(n))
    items = ItemView(torch.arange(n), vectors, {"brand": codes})
    ranked = ranker_alone(judged, Cuts(8, 6, 3), by_rank(3)).ranked
    relevant = torch.from_numpy(rng.random(n) < 0.5)
    found = measure_ways(SWEEP, ranked, judged, items, 3, value, relevant)
    assert list(found) == ["order", "quotas", "mmr 1", "mmr 0.4", "dpp 1", "dpp 0.4"]
    for name, way in SWEEP.ways().items():
        pages = by_rank(3)(ranked) if way is None else RerankedPages(way, 3, judged, items)(ranked)
        for request in range(judged.num_requests):
            own = ((judged.index == request) & (pages >= 0)).nonzero()[:, 0].tolist()
            passed = ((judged.index == request) & (ranked >= 0)).nonzero()[:, 0]
            assert float(found[name]["value"].values[request]) == pytest.approx(float(value[own].mean()))
            unit = vectors[own] / vectors[own].norm(dim=1, keepdim=True)
            pairs = [1 - float(unit[a] @ unit[b]) for a, b in itertools.combinations(range(len(own)), 2)]
            distance = found[name]["distance"]
            assert bool(distance.used[request]) == bool(pairs)
            if pairs:
                assert float(distance.values[request]) == pytest.approx(np.mean(pairs), abs=1e-5)
            share = len({*codes[own].tolist()}) / len({*codes[passed].tolist()})
            assert float(found[name]["coverage"].values[request]) == pytest.approx(share)
            assert bool(found[name]["alpha_ndcg"].used[request]) == bool(relevant[passed].any())


def test_relevance_alone_is_the_order_and_quotas_cover_more() -> None:
    n, rng = 600, np.random.default_rng(1)
    index, score = torch.arange(60).repeat_interleave(10), torch.from_numpy(rng.normal(size=n))
    judged = Judged(index, 60, score, torch.ones(n, dtype=torch.bool))
    items = ItemView(
        torch.arange(n),
        torch.from_numpy(rng.normal(size=(n, 3)).astype(np.float32)),
        {"brand": torch.from_numpy(rng.integers(0, 4, n))},
    )
    ranked = ranker_alone(judged, Cuts(8, 8, 3), by_rank(3)).ranked
    found = measure_ways(SWEEP, ranked, judged, items, 3, judged.ranker.exp(), ranked >= 0)
    for name in MEASURES:
        for kind in ("mmr 1", "dpp 1"):
            assert torch.equal(found[kind][name].values.nan_to_num(), found["order"][name].values.nan_to_num())
    assert float(found["quotas"]["coverage"].value) > float(found["order"]["coverage"].value)
    for kind in ("mmr 0.4", "dpp 0.4"):
        assert float(found[kind]["distance"].value) > float(found["order"]["distance"].value)
        assert float(found[kind]["value"].value) < float(found["order"]["value"].value)
    unknown = measure_ways(SWEEP, ranked, judged, items, 3, None, ranked >= 0)
    assert not bool(unknown["order"]["value"].used.any())
