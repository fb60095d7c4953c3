from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from distill.data.stream.index import PartIndex, SplitIndex
from distill.data.stream.plan import EpochPlan, StreamOrder, plan_epoch
from distill.errors import ConfigError

ORDER = StreamOrder(batch_candidates=10, shuffle_buffer=40, num_shards=2, seed=1, shuffle=True)


class Footer:
    def __init__(self, groups: int) -> None:
        self.num_row_groups = groups


def index(groups: Sequence[int], lengths: Sequence[int] | None) -> SplitIndex:
    starts = np.cumsum([0, *groups])
    ends = None if lengths is None else np.cumsum([0, *lengths])
    return SplitIndex("train", (PartIndex(Footer(len(groups)), starts, ends, 0),))


def requests(plan: EpochPlan) -> list[int]:
    units = [unit for blocks in plan.shards for block in blocks for unit in block.units]
    return sorted(request for unit in units for request in range(unit.start, unit.stop))


def test_many_row_groups_stay_whole() -> None:
    plan = plan_epoch(index([7] * 8, None), ORDER, 0)
    sizes = [unit.stop - unit.start for blocks in plan.shards for block in blocks for unit in block.units]
    assert sizes == [7] * 8
    assert requests(plan) == list(range(56))


def test_few_row_groups_are_cut_evenly_by_candidates() -> None:
    plan = plan_epoch(index([10], [1, 1, 1, 1, 1, 1, 1, 1, 4, 4]), replace(ORDER, num_shards=1, shuffle=False), 0)
    units = [unit for block in plan.shards[0] for unit in block.units]
    assert [(unit.start, unit.stop) for unit in units] == [(0, 4), (4, 8), (8, 9), (9, 10)]


def test_shards_are_balanced_by_candidates() -> None:
    rng = np.random.default_rng(0)
    lengths = rng.integers(0, 20, 400)
    plan = plan_epoch(index([10] * 40, lengths), replace(ORDER, num_shards=4), 0)
    loads = [
        sum(int(lengths[u.start : u.stop].sum()) for block in blocks for u in block.units) for blocks in plan.shards
    ]
    assert sum(loads) == int(lengths.sum())
    assert max(loads) - min(loads) <= 200


def test_block_reaches_the_buffer_and_a_small_rest_joins_the_last() -> None:
    plan = plan_epoch(index([15] * 10, None), replace(ORDER, num_shards=1), 0)
    sizes = [sum(unit.stop - unit.start for unit in block.units) for block in plan.shards[0]]
    assert sizes == [45, 45, 60]


def test_steps_follow_on_each_other() -> None:
    plan = plan_epoch(index([20] * 10, None), ORDER, 0)
    for blocks in plan.shards:
        assert [block.first_step for block in blocks] == np.cumsum([0, *(b.num_steps for b in blocks)])[:-1].tolist()
    assert plan.num_steps == 10


def test_epochs_and_seeds_differ_and_repeat() -> None:
    split = index([5] * 30, None)
    assert plan_epoch(split, ORDER, 0) == plan_epoch(split, ORDER, 0)
    assert plan_epoch(split, ORDER, 0).shards != plan_epoch(split, ORDER, 1).shards
    assert plan_epoch(split, ORDER, 0).shards != plan_epoch(split, replace(ORDER, seed=2), 0).shards


def test_shard_without_rows_has_no_blocks() -> None:
    plan = plan_epoch(index([1], None), replace(ORDER, num_shards=3), 0)
    assert sorted(len(blocks) for blocks in plan.shards) == [0, 0, 1]
    assert plan.num_steps == 1


@pytest.mark.parametrize("change", [{"batch_candidates": 0}, {"shuffle_buffer": 0}, {"num_shards": 0}, {"seed": -1}])
def test_impossible_order_is_refused(change: dict[str, int]) -> None:
    name = next(iter(change))
    with pytest.raises(ConfigError, match=f"where: +{name if name == 'seed' else f'data.loader.{name}'}"):
        replace(ORDER, **change)
