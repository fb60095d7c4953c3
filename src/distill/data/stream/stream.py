"""Batches of one shard, block by block."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from functools import partial
from itertools import islice

import numpy as np

from distill.batch import Batch
from distill.data.format import Dataset, Split
from distill.data.stream.apart import Group, collate_apart, together
from distill.data.stream.block import Block
from distill.data.stream.collate import as_padding, collate
from distill.data.stream.in_order import Task, in_order
from distill.data.stream.index import SplitIndex, index_split
from distill.data.stream.layout import ReadLayout, read_layout
from distill.data.stream.plan import BlockPlan, EpochPlan, Unit, block_batches, block_lengths
from distill.data.stream.read import read_block
from distill.schema import Schema


@dataclass(frozen=True)
class SplitReader:
    """Reads a split as a view of the schema sees it.

    Attributes:
        index: The split.
        layout: What is read of it.
        seen: Part and row group of what was read before, of which the values were looked at.
    """

    index: SplitIndex
    layout: ReadLayout
    seen: set[tuple[int, int]] = field(default_factory=set)

    @classmethod
    def open(
        cls,
        dataset: Dataset,
        view: Schema,
        split: Split,
        signals: str | None = None,
        hidden: Sequence[str] | None = None,
    ) -> SplitReader:
        """Indexes a split and checks its columns.

        Args:
            dataset: The dataset.
            view: Its schema or a part of it; fields that it lacks are not read.
            split: Which split.
            signals: None, `dataset`, or a folder of aligned signal files.
            hidden: Names of the hidden vectors of the signals that are read; all if None.

        Raises:
            DataError: A file of the split is not what the format says.
            SignalError: The signals are not there or do not belong to the dataset.
        """
        layout = read_layout(dataset, view, split, signals, hidden)
        return cls(index_split(dataset, split, layout.columns), layout)

    def tasks(
        self,
        plan: EpochPlan,
        shard: int,
        start: int = 0,
        pool: Executor | None = None,
        blocks_ahead: int = 1,
        at_once: bool = False,
    ) -> Generator[Group[Batch], None, None]:
        """Yields what makes the batches of one shard from a step on, without padding; they may be made side by side.

        Blocks that end before the step are not read.

        Args:
            plan: The epoch.
            shard: Which shard.
            start: First step.
            pool: Threads that read blocks; None reads each on the caller's thread when it is needed.
            blocks_ahead: Most blocks that are read, or lie ready, while one is cut into batches.
            at_once: Whether small batches are gathered several at once; else each is a group.
        """
        blocks = [block for block in plan.shards[shard] if block.first_step + block.num_steps > start]
        loaded = in_order(self._reads(blocks), pool, blocks_ahead)
        try:
            for block in blocks:
                skipped = max(start - block.first_step, 0)
                yield from self._cut(block, next(loaded), plan.order.batch_candidates, skipped, at_once)
        finally:
            loaded.close()

    def padding(self) -> Batch:
        """Returns the split's first request with a candidate as a padding batch."""
        for number, part in enumerate(self.index.parts):
            candidates = np.flatnonzero(part.lengths(0, part.num_requests))
            if candidates.size:
                request = int(candidates[0])
                group = int(np.searchsorted(part.group_starts, request, side="right")) - 1
                block = read_block(self.index, self.layout, (Unit(number, group, request, request + 1),))
                return as_padding(collate(block, np.zeros(1, dtype=np.int64), self.layout.carried))
        raise AssertionError("an index holds at least one candidate")

    def _reads(self, blocks: list[BlockPlan]) -> Iterator[Task[Block]]:
        for block in blocks:
            yield partial(read_block, self.index, self.layout, block.units, self.seen)

    def _cut(
        self, plan: BlockPlan, block: Block, budget: int, skipped: int, at_once: bool
    ) -> Generator[Group[Batch], None, None]:
        lengths = block_lengths(self.index, plan.units)
        batches = islice(block_batches(lengths, plan.key, budget), skipped, None)
        for some in together(batches, budget if at_once else None):
            yield Group(len(some), partial(collate_apart, block, some, self.layout.carried))
