"""Plans of pairs: what the host knows of lists is enough for blocks that hold every pair once, and not many others."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from distill.list_sizes import ListSizes
from distill.ops import pairs
from distill.ops.pairs import PairPlan, pair_blocks
from tests.no_sync import waits

COUNTS = st.lists(st.integers(0, 40), max_size=24)


def plan_of(counts: list[int], behind: int = 0, coarse: bool = False) -> PairPlan:
    sizes = ListSizes.of(np.array(counts, dtype=np.int64), None)
    known = sizes.coarse() if coarse else sizes
    return PairPlan.of(len(counts), sum(counts) + behind, known.longest, known.squares)


def found_by(plan: PairPlan, counts: list[int], each_once: bool = False) -> list[tuple[int, int, int]]:
    found = []
    for block in pair_blocks(torch.tensor(counts, dtype=torch.int64), each_once=each_once, plan=plan):
        assert block.taken is not None
        for g, i, j in block.taken.nonzero().tolist():
            found.append((int(block.segment[g]), int(block.first[g, i]), int(block.second[g, j])))
    return sorted(found)


def expected(counts: list[int]) -> list[tuple[int, int, int]]:
    starts = np.cumsum([0, *counts])
    both = []
    for number, (start, count) in enumerate(zip(starts, counts, strict=False)):
        rows = range(start, start + count if count > 1 else start)
        both += [(number, int(a), int(b)) for a in rows for b in rows]
    return both


@pytest.mark.parametrize(("most", "cost"), [(1 << 22, 1 << 20), (7, 0), (200, 50)])
@given(counts=COUNTS, behind=st.integers(0, 9), coarse=st.booleans())
def test_every_pair_is_in_one_block(most: int, cost: int, counts: list[int], behind: int, coarse: bool) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pairs, "PLANNED_PAIRS", most)
        patch.setattr(pairs, "BLOCK_PAIRS", min(most, pairs.BLOCK_PAIRS))
        patch.setattr(pairs, "_BLOCK_COST", cost)
        pairs._parts.cache_clear()
        plan = plan_of(counts, behind, coarse)
        given_counts = [*counts, behind] if behind else counts
        assert found_by(plan, given_counts) == expected(counts)
        once = [pair for pair in expected(counts) if pair[1] < pair[2]]
        assert found_by(plan, given_counts, each_once=True) == once
    pairs._parts.cache_clear()


@given(counts=COUNTS, kept=st.randoms())
def test_a_plan_holds_what_is_left_of_the_lists_too(counts: list[int], kept: object) -> None:
    less = [kept.randint(0, count) for count in counts]  # type: ignore[attr-defined]
    sizes = ListSizes.of(np.array(counts, dtype=np.int64), None)
    plan = PairPlan.of(len(counts), sum(less), sizes.longest, sizes.squares)
    assert found_by(plan, less) == expected(less)


@pytest.mark.parametrize("shape", ["equal", "usual", "one_long", "heavy"])
def test_the_pairs_of_a_plan_are_not_many_times_those_that_there_are(shape: str) -> None:
    """Beside those that cost less than another block."""
    draw = np.random.default_rng(0)
    counts = {
        "equal": np.full(300, 50),
        "usual": draw.poisson(draw.gamma(4.0, 12.0, 330)),
        "one_long": np.array([4096, *draw.poisson(50, 200)]),
        "heavy": np.minimum((draw.pareto(1.5, 2000) + 1) * 10, 1000).astype(np.int64),
    }[shape]
    there = int((counts.astype(np.int64) ** 2).sum())
    sizes = ListSizes.of(counts, None)
    plan = PairPlan.of(counts.size, int(counts.sum()), sizes.longest, sizes.squares)
    assert there <= plan.num_pairs <= 6 * there + (len(plan.parts) + 1) * pairs._BLOCK_COST
    coarse = sizes.coarse()
    wider = PairPlan.of(counts.size, int(counts.sum()), coarse.longest, coarse.squares)
    assert plan.num_pairs <= wider.num_pairs <= 9 * there + (len(wider.parts) + 1) * pairs._BLOCK_COST


def test_nothing_waits_for_the_lists() -> None:
    counts = torch.tensor([3, 1, 0, 9, 2])
    plan = PairPlan.of(5, 15, 9, 95)
    with waits() as found:
        blocks = list(pair_blocks(counts, plan=plan))
    assert blocks
    assert found == []


def test_lists_of_one_have_no_pairs() -> None:
    assert plan_of([1] * 50).parts == ()
    assert plan_of([]).parts == ()
