"""Several batches gathered as one, and taken apart again.

What a gather costs beside its rows, in calls that only one thread of Python makes at a time, is some tenths of a
millisecond: as much as a GPU needs for a step of a few thousand rows. Several threads that gather small batches wait
for each other.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor

from distill.batch import Batch, FeatureBlock, Ragged, TeacherSignals
from distill.data.stream.block import Block
from distill.data.stream.collate import collate
from distill.data.stream.in_order import Task
from distill.data.stream.packing import Ints

_CANDIDATES = 32_768
T = TypeVar("T")


class Group(NamedTuple, Generic[T]):
    """Batches that follow each other and are made at once.

    Attributes:
        size: How many.
        make: Makes them.
    """

    size: int
    make: Task[list[T]]


def together(batches: Iterator[Ints], budget: int | None) -> Iterator[list[Ints]]:
    """Puts the requests of batches together that are gathered at once.

    Args:
        batches: Requests of each batch.
        budget: Most candidates in a batch; None: each is gathered for itself.
    """
    most = 1 if budget is None else max(1, _CANDIDATES // budget)
    found: list[Ints] = []
    for requests in batches:
        found.append(requests)
        if len(found) == most:
            yield found
            found = []
    if found:
        yield found


def collate_apart(block: Block, batches: Sequence[Ints], columns: tuple[str, ...]) -> list[Batch]:
    """Gathers the requests of several batches of the host at once; see `collate`.

    Returns:
        The batches, whose tensors are views of those of all.
    """
    if len(batches) == 1:
        return [collate(block, batches[0], columns)]
    whole = collate(block, np.concatenate(batches), columns)
    return apart(whole, [requests.size for requests in batches])


def apart(whole: Batch, requests: Sequence[int]) -> list[Batch]:
    """Takes a batch of the log apart into batches of its first so many requests, the next, and so on.

    Args:
        whole: As it was gathered: nothing is sampled, logged or padded.
        requests: How many of each; together those of `whole`.
    """
    starts = [0, *accumulate(requests)]
    rows = np.diff(np.searchsorted(whole.request_index.numpy(), starts)).tolist()
    cut = _Cut(list(requests), rows)
    of_rows = ("labels", "observed", "stage", "origin", "weight", "item_id", "row")
    parts: dict[str, list[Any]] = {name: cut.rows_of(getattr(whole, name)) for name in of_rows}
    parts["request_index"] = [
        index - start for index, start in zip(cut.rows_of(whole.request_index), starts[:-1], strict=True)
    ]
    for name in ("request_id", "user_id"):
        parts[name] = cut.requests_of(getattr(whole, name))
    parts["request"] = _blocks(whole.request, cut.requests)
    parts["candidate"], parts["cross"] = _blocks(whole.candidate, rows), _blocks(whole.cross, rows)
    parts["columns"] = _mappings({name: cut.rows_of(values) for name, values in whole.columns.items()}, len(rows))
    parts["signals"] = _signals(whole.signals, cut)
    return [Batch(**{name: values[place] for name, values in parts.items()}) for place in range(len(rows))]


@dataclass(frozen=True)
class _Cut:
    """How many requests, and rows, each batch has."""

    requests: list[int]
    rows: list[int]

    def requests_of(self, values: Tensor) -> list[Tensor]:
        return list(torch.split(values, self.requests))

    def rows_of(self, values: Tensor) -> list[Tensor]:
        return list(torch.split(values, self.rows))


def _blocks(block: FeatureBlock, sizes: list[int]) -> list[FeatureBlock]:
    vectors = {name: list(torch.split(values, sizes)) for name, values in block.vectors.items()}
    sequences = {name: _raggeds(ragged, sizes) for name, ragged in block.sequences.items()}
    parts = zip(
        torch.split(block.ids, sizes),
        torch.split(block.numbers, sizes),
        _mappings(vectors, len(sizes)),
        _mappings(sequences, len(sizes)),
        strict=True,
    )
    return [FeatureBlock(*part) for part in parts]


def _raggeds(ragged: Ragged, sizes: list[int]) -> list[Ragged]:
    ends = np.concatenate([[0], ragged.lengths.numpy().cumsum()])
    counts = np.diff(ends[[0, *accumulate(sizes)]]).tolist()
    parts = zip(torch.split(ragged.values, counts), torch.split(ragged.lengths, sizes), strict=True)
    return [Ragged(values, lengths, ragged.longest) for values, lengths in parts]


def _signals(signals: TeacherSignals | None, cut: _Cut) -> list[TeacherSignals | None]:
    if signals is None:
        return [None] * len(cut.rows)
    hidden = _mappings({name: cut.rows_of(values) for name, values in signals.hidden.items()}, len(cut.rows))
    parts = zip(cut.rows_of(signals.logits), cut.rows_of(signals.valid), hidden, strict=True)
    return [TeacherSignals(*part) for part in parts]


def _mappings(values: dict[str, list[Any]], count: int) -> list[dict[str, Any]]:
    """Turns a list for each name into a mapping for each place."""
    return [{name: of[place] for name, of in values.items()} for place in range(count)]
