"""A split that stays in memory: read once, and cut into the batches that the stream would give."""

from __future__ import annotations

import os
from collections.abc import Generator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from distill.batch import Batch
from distill.data.format import field_column
from distill.data.stream.apart import Group, collate_apart, together
from distill.data.stream.arrays import Values
from distill.data.stream.block import Block
from distill.data.stream.collate import Places, as_padding, concat_batches, find, gather_batch
from distill.data.stream.index import SplitIndex
from distill.data.stream.layout import ReadLayout
from distill.data.stream.packing import Ints
from distill.data.stream.plan import EpochPlan, Unit, block_batches, block_lengths
from distill.data.stream.read import read_block
from distill.data.stream.stream import SplitReader
from distill.errors import ConfigError
from distill.schema import Side

_LARGE = 1 << 31


@dataclass(frozen=True)
class ResidentReader:
    """The batches of a split whose rows are in memory: the same, in the same order, as `SplitReader` gives.

    Attributes:
        index: The split.
        columns: Names of the value columns that batches carry.
        held: Its rows, in the order of the files.
        on_device: Whether batches are gathered where the model is, of rows that are held there too.
    """

    index: SplitIndex
    columns: tuple[str, ...]
    held: HeldRows
    on_device: bool

    @classmethod
    def of(cls, reader: SplitReader, on_device: bool) -> ResidentReader:
        """Reads a split.

        Raises:
            ConfigError: It is larger than the memory of this machine.
            DataError: A file cannot be read, or is not what the format says.
            SignalError: The same of a signal file.
        """
        _check_size(reader.index, reader.layout)
        block = read_block(reader.index, reader.layout, _all_units(reader.index), reader.seen)
        held = HeldRows(reader.index.split, block, _positives(block) if on_device else None)
        return cls(reader.index, reader.layout.carried, held, on_device)

    def tasks(
        self,
        plan: EpochPlan,
        shard: int,
        start: int = 0,
        pool: Executor | None = None,
        blocks_ahead: int = 1,
        at_once: bool = False,
    ) -> Generator[Group[Batch | PlacedBatch], None, None]:
        """Yields what makes the batches of a shard; see `SplitReader.tasks`. Nothing is left to read."""
        first = np.cumsum([0, *(part.num_requests for part in self.index.parts)])
        for block in plan.shards[shard]:
            if block.first_step + block.num_steps <= start:
                continue
            places = np.concatenate([np.arange(unit.start, unit.stop) + first[unit.part] for unit in block.units])
            lengths = block_lengths(self.index, block.units)
            budget = plan.order.batch_candidates
            batches = islice(block_batches(lengths, block.key, budget), max(start - block.first_step, 0), None)
            for some in together(batches, budget if at_once and not self.on_device else None):
                yield Group(len(some), partial(self._made, [places[requests] for requests in some]))

    def padding(self) -> Batch | PlacedBatch:
        """Returns the first request with a candidate as a padding batch."""
        lengths = np.concatenate([part.lengths(0, part.num_requests) for part in self.index.parts])
        (made,) = self._made([np.flatnonzero(lengths)[:1]])
        return as_padding(made) if isinstance(made, Batch) else made.as_padding()

    def _made(self, batches: Sequence[Ints]) -> list[Batch | PlacedBatch]:
        if self.on_device:
            return [PlacedBatch.of(self.held, requests, self.columns) for requests in batches]
        return [*collate_apart(self.held.block, batches, self.columns)]


@dataclass
class HeldRows:
    """All rows of a split, on the host until they are asked for on a device, and there from then on.

    Attributes:
        name: Of the split, for errors.
        block: The rows.
        positives: Of how many tasks each candidate is a positive, for the host, once the labels are on a device; None
            if they never are.
    """

    name: str
    block: Block
    positives: npt.NDArray[np.uint8] | None = None

    def on(self, device: torch.device) -> Block:
        """Returns the rows on a device.

        Raises:
            ConfigError: They do not fit there.
        """
        matrix = self.block.candidate.matrix
        if not isinstance(matrix, Tensor) or matrix.device != device:
            size = self.block.num_bytes
            try:
                self.block = self.block.to(device)
            except torch.OutOfMemoryError as error:
                raise _too_large(self.name, size, f"the free memory of {device}") from error
        return self.block


class _Part(NamedTuple):
    places: Places
    is_padding: bool


@dataclass(frozen=True)
class PlacedBatch:
    """A batch that is not gathered yet: the places of its rows among those that are held.

    Attributes:
        held: The rows.
        columns: Names of the value columns that the batch carries.
        parts: Places for each shard of the process.
    """

    held: HeldRows
    columns: tuple[str, ...]
    parts: tuple[_Part, ...]

    @classmethod
    def of(cls, held: HeldRows, requests: Ints, columns: tuple[str, ...]) -> PlacedBatch:
        """Finds some requests among the rows that are held; see `find`."""
        places = find(held.block, requests)
        known = None if held.positives is None else held.positives[np.asarray(places.rows)]
        positives = None if known is None else int(known.sum(dtype=np.int64))
        return cls(held, columns, (_Part(places.measured(positives), False),))

    def as_padding(self) -> PlacedBatch:
        """Returns the same with weight 0."""
        return PlacedBatch(self.held, self.columns, tuple(part._replace(is_padding=True) for part in self.parts))

    def joined(self, others: list[PlacedBatch]) -> PlacedBatch:
        """Returns the requests of all."""
        parts = (part for batch in (self, *others) for part in batch.parts)
        return PlacedBatch(self.held, self.columns, tuple(parts))

    def on(self, device: torch.device) -> Batch:
        """Gathers the batch on a device, which is sent its places in one copy; nothing waits for it."""
        block = self.held.on(device)
        made = []
        for part in self.parts:
            batch = gather_batch(block, _sent(part.places, device), self.columns)
            made.append(as_padding(batch) if part.is_padding else batch)
        return concat_batches(made)


def _sent(places: Places, device: torch.device) -> Places:
    """Copies places to a device in one buffer, in 32 bits where they fit."""
    arrays: list[Ints] = []

    def keep(values: Values) -> Values:
        arrays.append(np.asarray(values))
        return values

    places.map(keep)
    large = any(values.size and int(values.max()) >= _LARGE for values in arrays)
    sizes = [values.size for values in arrays]
    buffer = torch.empty(sum(sizes), dtype=torch.int64 if large else torch.int32, pin_memory=device.type == "cuda")
    np.concatenate(arrays, out=buffer.numpy(), casting="same_kind")
    there = iter(torch.split(buffer.to(device, non_blocking=True).long(), sizes))
    return places.map(lambda _: next(there))


def _positives(block: Block) -> npt.NDArray[np.uint8]:
    labels = np.asarray(block.candidate.numbers("labels"))  # NaN where not observed
    return np.asarray((labels > 0).sum(axis=1), dtype=np.uint8)


def _all_units(index: SplitIndex) -> tuple[Unit, ...]:
    return tuple(
        Unit(number, group, int(part.group_starts[group]), int(part.group_starts[group + 1]))
        for number, part in enumerate(index.parts)
        for group in range(part.group_starts.size - 1)
    )


def _check_size(index: SplitIndex, layout: ReadLayout) -> None:
    size, there = held_bytes(index, layout), os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if size > there:
        raise _too_large(index.split, size, f"{there / 2**30:.1f} GiB of memory")


def held_bytes(index: SplitIndex, layout: ReadLayout) -> int:
    """Counts the bytes of a split in memory, from its footers."""
    requests, candidates = sum(part.num_requests for part in index.parts), index.num_candidates
    size = 16 * requests + 8 * requests  # keys, and where candidates begin
    size += candidates  # of how many tasks each is a positive
    size += candidates * (24 + 4 * (len(layout.labels) * (1 + layout.has_signals) + len(layout.values)))
    size += candidates * 4 * sum(layout.hidden.values())
    for side, fields in layout.sides.items():
        rows = requests if side is Side.REQUEST else candidates
        size += 4 * rows * (len(fields.ids) + len(fields.numbers) + sum(fields.vectors.values()))
        lists = (*fields.sequences, *fields.vector_lists)
        size += 8 * rows * len(lists)
        size += 4 * sum(_num_values(index, field_column(name)) for name in lists)
    return size


def _num_values(index: SplitIndex, column: str) -> int:
    """Counts the values of a list column; an empty list counts as one."""
    found = 0
    for part in index.parts:
        groups = [part.file.metadata.row_group(group) for group in range(part.file.num_row_groups)]
        for group in groups:
            chunks = [group.column(place) for place in range(group.num_columns)]
            found += sum(chunk.num_values for chunk in chunks if chunk.path_in_schema.split(".")[0] == column)
    return found


def _too_large(split: str, size: int, there: str) -> ConfigError:
    return ConfigError(
        f"The {split} split does not fit into memory.",
        where="data.loader.resident",
        expected=f"less than {there}",
        found=f"{size / 2**30:.1f} GiB",
        remedy="Set data.loader.resident=null: batches are then read from disk, in the same order.",
    )
