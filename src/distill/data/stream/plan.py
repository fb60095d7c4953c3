"""The plan of an epoch: which shard reads which rows in which order, known before any row is read.

An epoch is divided over `num_shards` shards; a global step takes one batch of each. Rank r of w reads the shards
r, r + w, …, so that the batches of a step are the same rows whatever the number of ranks. Blocks start and end with
batches: nothing is carried over, and (epoch, step) is enough to resume.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from distill.checks import require_integer
from distill.data.stream.index import SplitIndex
from distill.data.stream.packing import Ints, batch_bounds, count_batches

UNITS_PER_SHARD = 4
MAX_CANDIDATES = 2**31 - 1
MAX_SHARDS = 1 << 16


@dataclass(frozen=True)
class StreamOrder:
    """All that fixes, together with the data, what each step of each epoch sees.

    Attributes:
        batch_candidates: Most candidates in a shard's batch; a longer request is a batch alone.
        shuffle_buffer: Least candidates of a block, within which requests are shuffled; bounds memory.
        num_shards: Parts of an epoch that are read side by side.
        seed: Of the shuffling.
        shuffle: Whether to shuffle; else file order within a shard.
    """

    batch_candidates: int
    shuffle_buffer: int
    num_shards: int
    seed: int
    shuffle: bool

    def __post_init__(self) -> None:
        require_integer("data.loader.batch_candidates", self.batch_candidates, least=1, most=MAX_CANDIDATES)
        require_integer("data.loader.shuffle_buffer", self.shuffle_buffer, least=1)
        require_integer("data.loader.num_shards", self.num_shards, least=1, most=MAX_SHARDS)
        require_integer("seed", self.seed, least=0)


class Unit(NamedTuple):
    """Requests `start..stop` of a part file, all in one row group."""

    part: int
    group: int
    start: int
    stop: int


@dataclass(frozen=True)
class BlockPlan:
    """What a shard reads at once, shuffles and cuts into batches.

    Attributes:
        units: What to read, by part, row group and start.
        key: Seeds the permutation; None without shuffling.
        first_step: Step of its first batch.
        num_steps: Number of its batches.
    """

    units: tuple[Unit, ...]
    key: tuple[int, ...] | None
    first_step: int
    num_steps: int


@dataclass(frozen=True)
class EpochPlan:
    """Blocks of each shard; all shards take `num_steps` steps, those that run out yield padding batches."""

    epoch: int
    order: StreamOrder
    shards: tuple[tuple[BlockPlan, ...], ...]

    @property
    def num_steps(self) -> int:
        """Steps of the epoch, on every rank."""
        return max(blocks[-1].first_step + blocks[-1].num_steps if blocks else 0 for blocks in self.shards)


def plan_epoch(index: SplitIndex, order: StreamOrder, epoch: int) -> EpochPlan:
    """Plans an epoch from the index alone; every rank gets the same plan.

    Args:
        index: The split.
        order: How to read it.
        epoch: Changes the shuffling.
    """
    units = _units(index, order.num_shards)
    if order.shuffle:
        shuffled = np.random.default_rng([order.seed, epoch]).permutation(len(units))
        units = [units[position] for position in shuffled]
    shards = _assign(index, units, order.num_shards)
    return EpochPlan(epoch, order, tuple(_blocks(index, order, epoch, s, units) for s, units in enumerate(shards)))


def plan_in_order(index: SplitIndex, batch_candidates: int) -> EpochPlan:
    """Plans to read everything once in file order on one shard; a block is a row group."""
    order = StreamOrder(batch_candidates, shuffle_buffer=1, num_shards=1, seed=0, shuffle=False)
    units = [
        Unit(number, group, int(start), int(stop))
        for number, part in enumerate(index.parts)
        for group, (start, stop) in enumerate(zip(part.group_starts[:-1], part.group_starts[1:], strict=True))
    ]
    return EpochPlan(0, order, (_blocks(index, order, 0, 0, units),))


def block_lengths(index: SplitIndex, units: tuple[Unit, ...]) -> Ints:
    """Returns the candidates of each request of the units, in their order."""
    return np.concatenate([index.parts[unit.part].lengths(unit.start, unit.stop) for unit in units])


def block_batches(lengths: Ints, key: tuple[int, ...] | None, budget: int) -> Iterator[Ints]:
    """Cuts a block into batches.

    Args:
        lengths: Candidates of each request of the block; requests without candidates are in no batch.
        key: Seeds the permutation; None keeps the order.
        budget: Most candidates in a batch.

    Returns:
        Positions of the requests of each batch in the block.
    """
    requests = _request_order(lengths, key)
    bounds = batch_bounds(lengths[requests], budget)
    return (requests[start:stop] for start, stop in pairwise(bounds))


def _request_order(lengths: Ints, key: tuple[int, ...] | None) -> Ints:
    requests: Ints = np.arange(lengths.size) if lengths.all() else np.flatnonzero(lengths)
    return requests if key is None else np.random.default_rng(key).permutation(requests)


def _units(index: SplitIndex, num_shards: int) -> list[Unit]:
    """Row groups, each cut evenly into several units only when they are too few to share out."""
    pieces = -(-UNITS_PER_SHARD * num_shards // max(index.num_row_groups, 1))
    units: list[Unit] = []
    for number, part in enumerate(index.parts):
        for group in range(part.group_starts.size - 1):
            start, stop = int(part.group_starts[group]), int(part.group_starts[group + 1])
            bounds = _cut(part.ends, start, stop, pieces)
            units += [Unit(number, group, a, b) for a, b in pairwise(bounds) if part.candidates(a, b) > 0]
    return units


def _cut(ends: Ints | None, start: int, stop: int, pieces: int) -> list[int]:
    if ends is None:
        cuts = np.linspace(start, stop, pieces + 1).round().astype(np.int64)
    else:
        targets = np.linspace(ends[start], ends[stop], pieces + 1)[1:-1]
        inner = np.searchsorted(ends[start : stop + 1], targets) + start
        cuts = np.concatenate([[start], inner, [stop]])
    return [int(cut) for cut in np.unique(cuts)]


def _assign(index: SplitIndex, units: list[Unit], num_shards: int) -> list[list[Unit]]:
    """Gives each unit to the shard with the fewest candidates so far."""
    shards: list[list[Unit]] = [[] for _ in range(num_shards)]
    loads = [(0, shard) for shard in range(num_shards)]
    for unit in units:
        load, shard = heapq.heappop(loads)
        shards[shard].append(unit)
        heapq.heappush(loads, (load + index.parts[unit.part].candidates(unit.start, unit.stop), shard))
    return shards


def _blocks(index: SplitIndex, order: StreamOrder, epoch: int, shard: int, units: list[Unit]) -> tuple[BlockPlan, ...]:
    blocks: list[BlockPlan] = []
    step = 0
    for number, members in enumerate(_gather(index, units, order.shuffle_buffer)):
        key = (order.seed, epoch, shard, number) if order.shuffle else None
        count = _count(index, members, key, order.batch_candidates)
        blocks.append(BlockPlan(members, key, step, count))
        step += count
    return tuple(blocks)


def _count(index: SplitIndex, units: tuple[Unit, ...], key: tuple[int, ...] | None, budget: int) -> int:
    if all(index.parts[unit.part].ends is None for unit in units):  # flat: every row is a request of one candidate
        return -(-sum(unit.stop - unit.start for unit in units) // budget)
    lengths = block_lengths(index, units)
    return count_batches(lengths[_request_order(lengths, key)], budget)


def _gather(index: SplitIndex, units: list[Unit], shuffle_buffer: int) -> list[tuple[Unit, ...]]:
    """Joins units to blocks of at least `shuffle_buffer` candidates; a rest under half of it joins the last block."""
    blocks: list[list[Unit]] = [[]]
    filled = 0
    for unit in units:
        if filled >= shuffle_buffer:
            blocks.append([])
            filled = 0
        blocks[-1].append(unit)
        filled += index.parts[unit.part].candidates(unit.start, unit.stop)
    if len(blocks) > 1 and 2 * filled < shuffle_buffer:
        rest = blocks.pop()
        blocks[-1] += rest
    return [tuple(sorted(members)) for members in blocks if members]
