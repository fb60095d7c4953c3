"""The batches of an epoch for one rank, with a position to resume from."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import closing, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

from distill.batch import Batch
from distill.data.stream.apart import Group
from distill.data.stream.collate import concat_batches
from distill.data.stream.in_order import Task, in_order
from distill.data.stream.plan import EpochPlan
from distill.data.stream.prefetch import prefetch
from distill.data.stream.resident import PlacedBatch, ResidentReader
from distill.data.stream.stream import SplitReader
from distill.errors import ConfigError

PREFETCHED_BATCHES = 8

AnyBatch = Batch | PlacedBatch
Work = Callable[[AnyBatch, int], Any]
"""What is done to a batch of the epoch, by its place, on the thread that made it."""


class BatchLoader:
    """Iterates over the batches of an epoch that belong to one rank.

    Every rank takes the same number of steps. A rank that owns several shards joins their batches of a step, in the
    order of the shards; a shard that has run out gives one padding request of weight 0. An iteration starts at step 0,
    or once at the `position` that was set before.

    Args:
        reader: Reads the split.
        plan: The epoch.
        rank: This process.
        world_size: Number of processes that share the epoch.
        ahead: Whether to read on background threads.
        workers: How many of them read blocks and gather batches; batches and their order are the same for any number.

    Attributes:
        work: Asked at the start of an iteration, with its first step, for what is done to each batch; None: nothing.
    """

    work: Callable[[int], Work | None] | None = None

    def __init__(
        self,
        reader: SplitReader | ResidentReader,
        plan: EpochPlan,
        rank: int = 0,
        world_size: int = 1,
        ahead: bool = True,
        workers: int = 1,
    ) -> None:
        if len(plan.shards) < world_size:
            raise ConfigError(
                "There are fewer shards than processes.",
                where="data.loader.num_shards",
                expected=f"{world_size} or more",
                found=str(len(plan.shards)),
            )
        self.plan = plan
        self.data_wait = 0.0
        """Seconds that the consumer has waited for batches so far."""
        self._reader = reader
        self._shards = range(rank, len(plan.shards), world_size)
        self._ahead = ahead
        self._workers = workers
        self._position = 0
        self._start = 0
        self._padding: AnyBatch | None = None

    def __len__(self) -> int:
        """Steps of the whole epoch, wherever iteration starts."""
        return self.plan.num_steps

    @property
    def position(self) -> int:
        """Steps of the epoch already yielded; setting it moves the start of the next iteration, of that one alone."""
        return self._position

    @position.setter
    def position(self, step: int) -> None:
        if not 0 <= step <= len(self):
            raise ValueError(f"position must be in 0..{len(self)}, found {step}")
        self._position = self._start = step

    def __iter__(self) -> Iterator[Any]:
        self._position, self._start = self._start, 0
        work = None if self.work is None else self.work(self._position)
        batches = self._produce(self._position, work)
        if self._ahead:
            batches = prefetch(batches, PREFETCHED_BATCHES)
        with closing(batches):
            while True:
                asked = time.perf_counter()
                batch = next(batches, None)
                self.data_wait += time.perf_counter() - asked
                if batch is None:
                    break
                self._position += 1
                yield batch

    def _produce(self, start: int, work: Work | None) -> Generator[Any, None, None]:
        """Reads and gathers; with one worker this thread gathers while the worker reads."""
        threads = ThreadPoolExecutor(self._workers, "distill-reader") if self._ahead else nullcontext()
        with threads as pool, closing(self._steps(start, pool, work)) as steps:
            made = in_order(steps, pool if self._workers > 1 else None, self._workers)
            with closing(made):
                for batches in made:
                    for batch in batches:
                        if isinstance(batch, _Failed):
                            raise batch.error
                        yield batch

    def _steps(self, start: int, pool: Executor | None, work: Work | None) -> Generator[Task[list[Any]], None, None]:
        """Yields what makes the batches of some steps that follow each other: of several steps where there is one shard
        and several workers, which would spend their time waiting for each other."""
        blocks_ahead, at_once = max(1, self._workers // 2), len(self._shards) == 1 and self._workers > 1
        streams: list[Generator[Group[Any], None, None]] = [
            self._reader.tasks(self.plan, shard, start, pool, blocks_ahead, at_once) for shard in self._shards
        ]
        try:
            place = start
            while place < len(self):
                groups = [next(stream, None) or Group(1, self._pad) for stream in streams]
                yield partial(_worked, work, [group.make for group in groups], place)
                place += groups[0].size
        finally:
            for stream in streams:
                stream.close()

    def _pad(self) -> list[AnyBatch]:
        if self._padding is None:
            self._padding = self._reader.padding()
        return [self._padding]


@dataclass(frozen=True)
class _Failed:
    """Stands for a batch to which something could not be done, behind those before it."""

    error: Exception


def _worked(work: Work | None, shards: list[Task[list[Any]]], start: int) -> list[Any]:
    """Makes the batches of some steps, of all shards, and does to each what is to be done."""
    made = [_joined(parts) for parts in zip(*(make() for make in shards), strict=True)]
    if work is None:
        return made
    done: list[Any] = []
    try:
        for place, batch in enumerate(made, start):
            done.append(work(batch, place))
    except Exception as error:
        done.append(_Failed(error))
    return done


def _joined(made: Sequence[AnyBatch]) -> AnyBatch:
    placed = [batch for batch in made if isinstance(batch, PlacedBatch)]
    return placed[0].joined(placed[1:]) if placed else concat_batches([b for b in made if isinstance(b, Batch)])
