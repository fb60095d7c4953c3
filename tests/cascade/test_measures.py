"""Recall, losses and shares of a cascade by hand and by brute force."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from torch import Tensor

from distill.cascade import Cuts, Judged, by_rank, measure, on_front, ranker_alone, run_stages
from distill.cascade.divisions import divisions
from distill.cascade.measures import Division, Measured
from distill.data.popularity import ItemExposures
from distill.metrics import ScoredRows
from tests.cascade.test_stages import drawn, first

NAN = math.nan


def measured(student: Tensor, judged: Judged, cuts: Cuts, truth: Tensor, best: int, code: Tensor) -> Measured:
    pages = by_rank(cuts.page)
    passed, alone = run_stages(student, judged, cuts, pages), ranker_alone(judged, cuts, pages)
    return measure(passed, alone, judged, cuts, truth, best, truth.exp(), {"half": Division(code, ("low", "high"))})


def test_one_request_by_hand() -> None:
    """Six candidates; the student passes on 0, 2, 3, 5; the ranker 5, 3, 2; two are shown, 5 and 3."""
    judged = Judged(
        torch.zeros(6, dtype=torch.int64),
        1,
        torch.tensor([1.0, 6.0, 2.0, 3.0, 5.0, 4.0]),
        torch.ones(6, dtype=torch.bool),
    )
    student = torch.tensor([9.0, 1.0, 8.0, 7.0, 2.0, 6.0])
    worth = torch.tensor([8.0, 7.0, 1.0, 2.0, 3.0, 4.0])
    found = measured(student, judged, Cuts(4, 3, 2), worth.log(), 3, torch.tensor([0, 0, 0, 1, 1, 1]))
    assert {name: float(value.value) for name, value in found.recalls.items()} == {
        "ranked_recall": pytest.approx(1 / 3),  # of 1, 4, 5 only 5 is passed on
        "shown_recall": 0.0,  # the ranker alone shows 1 and 4
        "joint_recall": pytest.approx(1 / 3),  # of the best 0, 1, 5
    }
    assert found.best is not None
    assert found.value is not None
    assert float(found.best.value) == pytest.approx((8 + 7) / 2)
    assert {name: float(value.value) for name, value in found.lost.items()} == {
        "prerank": pytest.approx((8 + 7) / 2 - (8 + 4) / 2),
        "rank": pytest.approx((8 + 4) / 2 - (4 + 2) / 2),
        "page": pytest.approx(0.0),
    }
    assert float(found.value.value) == pytest.approx(3.0)
    low, high = found.groups["half"]["low"], found.groups["half"]["high"]
    assert (low.wanted, low.shown, high.wanted, high.shown) == (0.5, 0.0, 0.5, 1.0)
    assert float(low.recall.value) == 0.0


@pytest.mark.parametrize("seed", range(3))
def test_recalls_and_losses_are_those_of_a_loop(seed: int) -> None:
    student, judged = drawn(seed)
    truth = torch.from_numpy(np.random.default_rng(100 + seed).normal(size=judged.index.numel()))
    cuts, best = Cuts(6, 4, 3), 5
    found = measured(student, judged, cuts, truth, best, torch.zeros_like(judged.index))
    names = ("ranked_recall", "shown_recall", "joint_recall")
    for request in range(judged.num_requests):
        rows = (judged.index == request).nonzero()[:, 0].tolist()
        preranked = first(student, rows, 6)
        ranked = first(judged.ranker, preranked, 4)
        shown, all_ = ranked[:3], first(judged.ranker, rows, 4)
        wanted = [(preranked, all_), (shown, all_[:3]), (shown, first(truth, rows, best))]
        for name, (have, want) in zip(names, wanted, strict=True):
            assert float(found.recalls[name].values[request]) == pytest.approx(len({*have} & {*want}) / len(want))
        ladder = [
            sum(math.exp(truth[row]) for row in first(truth, of, 3)) / 3 for of in (rows, preranked, ranked, shown)
        ]
        lost = [float(found.lost[name].values[request]) for name in ("prerank", "rank", "page")]
        assert lost == pytest.approx([a - b for a, b in itertools.pairwise(ladder)])
        assert min(lost) >= 0


def test_a_value_that_is_not_known_leaves_its_request_out() -> None:
    student, judged = drawn(0)
    truth = torch.where(judged.index == 2, NAN, torch.zeros(judged.index.numel()))
    found = measured(student, judged, Cuts(6, 4, 3), truth, 3, torch.zeros_like(judged.index))
    assert found.value is not None
    assert found.value.used.tolist() == [True, True, False, True, True]
    assert found.recalls["joint_recall"].used.tolist() == [True, True, False, True, True]
    assert bool(found.recalls["shown_recall"].used.all())


def test_a_page_with_an_unknown_value_leaves_its_request_out() -> None:
    """Else what is not known would count for nothing, and the page would seem to lose it."""
    student, judged = drawn(0)
    cuts = Cuts(6, 4, 3)
    shown = run_stages(student, judged, cuts, by_rank(cuts.page)).shown & (judged.index == 1)
    truth = torch.zeros(judged.index.numel())
    truth[shown.nonzero()[0]] = NAN
    found = measured(student, judged, cuts, truth, 3, torch.zeros_like(judged.index))
    assert found.value is not None
    assert found.value.used.tolist() == [True, False, True, True, True]
    assert all(one.used.tolist() == found.value.used.tolist() for one in found.lost.values())


def test_candidates_are_divided_by_item_user_and_stage() -> None:
    n = 8
    index = torch.tensor([0, 0, 1, 1, 2, 2, 3, 3])
    rows = ScoredRows(
        row=torch.arange(n), request_id=10 + index, user_id=torch.tensor([5, 5, 5, 5, 5, 5, 6, 6]),
        item_id=torch.tensor([1, 2, 3, 4, 1, 2, 3, 9]), logits=torch.zeros(n, 1), score=torch.zeros(n),
        labels=torch.zeros(n, 1), observed=torch.zeros(n, 1, dtype=torch.bool), stage=torch.tensor([0, 1, 2, 3] * 2),
        weight=torch.ones(n), columns={},
    )  # fmt: skip
    exposures = ItemExposures(torch.tensor([1, 2, 3]), torch.tensor([50, 30, 20]))
    found = divisions(rows, index, exposures)
    assert found["popularity"].code.tolist() == [0, 1, 2, 2, 0, 1, 2, 2]
    assert found["activity"].code.tolist() == [0, 0, 0, 0, 0, 0, 2, 2]
    assert found["stage"].code.tolist() == rows.stage.tolist()
    assert list(divisions(rows, index, None)) == ["activity", "stage"]


def test_the_front_is_what_nothing_beats() -> None:
    rng = np.random.default_rng(0)
    cost, quality = rng.integers(0, 6, 40).astype(float).tolist(), rng.integers(0, 6, 40).astype(float).tolist()
    beaten = [
        any(
            c <= cost[i] and q >= quality[i] and (c < cost[i] or q > quality[i])
            for c, q in zip(cost, quality, strict=True)
        )
        for i in range(40)
    ]
    assert on_front(cost, quality) == [not one for one in beaten]
    assert on_front([1.0, NAN, 0.5], [1.0, 9.0, NAN]) == [True, False, False]
