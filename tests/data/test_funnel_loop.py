"""The synthetic cascade in rounds: a pre-ranker of one's own, places of chance, and a platform that learns."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray

from distill.data.funnel import FunnelSource
from distill.data.funnel.cascade import Exploration, Outcome, PreRank, run_cascade
from distill.data.funnel.loop import RANKER, FunnelLoop

SOURCE = FunnelSource(
    requests=240, warmup=0, users=40, items=200, categories=6, brands=9, min_candidates=20, max_candidates=24,
    preranked=10, ranked=6, exposed=4, days=3, arrivals=0.2, val=0.1, test=0.1,
)  # fmt: skip


def outcome(prerank: PreRank | None = None, explored: Exploration | None = None) -> Outcome:
    world, rng = SOURCE.world(), np.random.default_rng(5)
    requests = SOURCE.draw_requests(world, np.arange(100), rng)
    return run_cascade(world, requests, SOURCE.sizes, rng, prerank, explored)


def by_item(item: NDArray[np.int64], valid: NDArray[np.bool_]) -> NDArray[np.float32]:
    return np.where(valid, item, -np.inf).astype(np.float32)


def test_a_pre_ranker_of_ones_own_decides_what_the_ranker_sees() -> None:
    found = outcome(by_item)
    assert np.array_equal(found.item, outcome().item)  # the same candidates
    for row in range(100):
        passed = np.sort(found.item[row][found.stage[row] >= 1])
        assert np.array_equal(passed, np.sort(found.item[row][found.valid[row]])[-10:])


@pytest.mark.parametrize("slots", [0, 1, 4])
def test_places_of_chance_are_drawn_from_what_would_have_been_cut(slots: int) -> None:
    found = outcome(by_item, Exploration(preranked=slots))
    drawn = np.zeros(100)
    for row in range(100):
        passed = found.item[row][found.stage[row] >= 1]
        best = np.sort(found.item[row][found.valid[row]])[::-1]
        assert len(passed) == 10
        assert np.isin(best[: 10 - slots], passed).all()
        drawn[row] = np.isin(passed, best[10:]).sum()
    assert drawn.max() <= slots
    assert (drawn.mean() > 0.4 * slots) == (slots > 0)


def test_places_of_chance_on_the_page_are_its_last_ones() -> None:
    plain, found = outcome(by_item), outcome(by_item, Exploration(exposed=2))
    assert np.array_equal(found.stage >= 2, plain.stage >= 2)
    assert np.array_equal((found.position == 0), (plain.position == 0))
    assert np.array_equal((found.position == 1), (plain.position == 1))
    assert ((found.stage == 3).sum(1) == 4).all()
    assert not np.array_equal(found.position, plain.position)


def test_the_ranker_says_what_it_is_asked_for() -> None:
    for scored, of in (("passed", 10), ("all", None)):
        log = FunnelLoop(SOURCE, Exploration(), scored).next_round().table  # type: ignore[arg-type]
        for row in log.select([RANKER, "stage"]).to_pylist():
            known = [value is not None for value in row[RANKER]]
            assert sum(known) == (len(known) if of is None else of)
            assert of is None or known == [stage > 0 for stage in row["stage"]]


def test_a_policy_reads_raw_columns_and_decides() -> None:
    def policy(
        request: dict[str, pa.Array], candidate: dict[str, pa.Array], counts: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        assert len(request["user_id"]) == len(counts)
        assert len(candidate["item_ctr"]) == counts.sum()
        return candidate["item_id"].to_numpy().astype(np.float32)

    loop = FunnelLoop(SOURCE, Exploration(), "passed")
    for row in loop.next_round(policy).table.select(["item_id", "stage"]).to_pylist():
        passed = {item for item, stage in zip(row["item_id"], row["stage"], strict=True) if stage > 0}
        assert passed == set(sorted(row["item_id"])[-10:])


def test_the_platform_recalls_and_knows_what_it_showed() -> None:
    loop = FunnelLoop(SOURCE, Exploration(), "passed")
    first = loop.next_round()
    before, known = SOURCE.world().items, loop.next_round()
    item = int(first.exposures.argmax())
    log = {row["item_id"][i]: row["item_ctr"][i] for row in known.table.to_pylist() for i in range(len(row["item_id"]))}
    never = int(np.flatnonzero((first.exposures == 0) & (known.candidates > 0))[0])
    assert log[never + 1] == pytest.approx(float(before.ctr[never]))
    clicks = sum(
        int(row["click"][i] == 1) for row in first.table.to_pylist() for i in range(len(row["item_id"]))
        if row["item_id"][i] == item + 1
    )  # fmt: skip
    views = int(first.exposures[item])
    assert views > 0
    assert log[item + 1] == pytest.approx((20 * float(before.ctr[item]) + clicks) / (20 + views), rel=1e-5)
    assert first.arrived < known.arrived <= 200
    assert known.exposures[known.arrived :].sum() == 0
    assert known.exposures.sum() == 80 * 4


def test_without_a_pre_ranker_the_ranker_gets_all() -> None:
    found = FunnelLoop(SOURCE, Exploration(), "passed").next_round(sees_all=True)
    assert min(min(stages) for stages in found.table["stage"].to_pylist()) == 1
    assert found.chance > FunnelLoop(SOURCE, Exploration(), "passed").next_round().chance
