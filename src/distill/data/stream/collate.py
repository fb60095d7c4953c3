"""Gathers batches from a block and joins batches of several shards; no loop over rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate
from typing import Any

import numpy as np
import torch
from torch import Tensor

from distill.batch import Batch, FeatureBlock, Origin, Ragged, TeacherSignals
from distill.data.stream.arrays import Values, gather, kept, present, tensor, widened, zeroed
from distill.data.stream.block import Block, SideBlock, ragged_rows
from distill.data.stream.cells import Cells
from distill.data.stream.packing import Ints
from distill.list_sizes import ListSizes
from distill.schema import Side


@dataclass(frozen=True)
class Places:
    """Where the rows of a batch lie in a block.

    Attributes:
        requests: Positions of requests `[R]`.
        rows: Positions of candidates `[N]`; the same array as `requests` in the flat layout.
        request_index: `[N]`, see `Batch`.
        sequences: Of each side, field to the lengths of its rows and to the positions of their values.
        longest: Of each side, field to its longest row: what the host knows of lengths that lie on a device.
        seen: Of the request side, field to the values that candidates see; see `Ragged`.
        sizes: What it knows of how many candidates the requests have.
    """

    requests: Values
    rows: Values
    request_index: Values
    sequences: Mapping[Side, Mapping[str, tuple[Values, Values]]]
    longest: Mapping[Side, Mapping[str, int]] = field(default_factory=dict)
    seen: Mapping[str, int] = field(default_factory=dict)
    sizes: ListSizes | None = None

    def measured(self, positives: int | None) -> Places:
        """Returns the same, of the host, with what the host knows.

        Args:
            positives: How many labels are those of a positive, if that is known.
        """
        longest = {
            side: {name: int(np.max(lengths, initial=0)) for name, (lengths, _) in fields.items()}
            for side, fields in self.sequences.items()
        }
        counts = np.bincount(np.asarray(self.request_index)).astype(np.int64)
        of_request = self.sequences.get(Side.REQUEST, {})
        seen = {name: int(np.asarray(lengths)[: counts.size] @ counts) for name, (lengths, _) in of_request.items()}
        return replace(self, longest=longest, seen=seen, sizes=ListSizes.of(counts, positives))

    def map(self, function: Callable[[Values], Values]) -> Places:
        """Returns the same with other arrays."""
        requests = function(self.requests)
        return Places(
            requests,
            requests if self.rows is self.requests else function(self.rows),
            function(self.request_index),
            {
                side: {name: (function(lengths), function(places)) for name, (lengths, places) in fields.items()}
                for side, fields in self.sequences.items()
            },
            self.longest,
            self.seen,
            self.sizes,
        )


def find(block: Block, requests: Ints) -> Places:
    """Finds some requests of a block with all their candidates, on the host.

    Args:
        block: Where.
        requests: `[R]`, positions of requests in the block, each with at least one candidate.
    """
    if block.ends is None:
        rows, request_index = requests, np.arange(requests.size)
    else:
        lengths, rows = ragged_rows(block.ends, requests)
        request_index = np.repeat(np.arange(requests.size), lengths)
    sequences = {
        side: {
            name: ragged_rows(ragged.ends, requests if side is Side.REQUEST else rows)
            for name, ragged in fields.sequences.items()
        }
        for side, fields in block.sides.items()
    }
    return Places(requests, rows, request_index, sequences)


def collate(block: Block, requests: Ints, columns: tuple[str, ...]) -> Batch:
    """Gathers some requests of a block of the host; see `find` and `gather_batch`."""
    return gather_batch(block, find(block, requests), columns)


def gather_batch(block: Block, places: Places, columns: tuple[str, ...]) -> Batch:
    """Gathers rows of a block, where it lies.

    Args:
        block: Where from.
        places: Which rows; of the same device as the block.
        columns: Names of the first of the block's values.

    Returns:
        A batch in the order of the requests, with origin LOG and the weights of the block, 1 if it has none.
    """
    request, candidate = block.request.take(places.requests), block.candidate.take(places.rows)
    labels, values = candidate.numbers("labels"), candidate.numbers("values")
    observed = present(labels)
    request_id, user_id = _columns(request.key_columns)
    item_id, stage, row = _columns(candidate.key_columns)
    return Batch(
        request=_side(Side.REQUEST, request, block.sides[Side.REQUEST], places.requests, places),
        candidate=_side(Side.CANDIDATE, candidate, block.sides[Side.CANDIDATE], places.rows, places),
        cross=_side(Side.CROSS, candidate, block.sides[Side.CROSS], places.rows, places),
        request_index=tensor(places.request_index),
        labels=kept(labels, observed),
        observed=tensor(observed),
        stage=stage,
        origin=torch.full_like(stage, int(Origin.LOG)),
        weight=torch.ones_like(stage, dtype=torch.float32) if block.weight is None else tensor(values[:, block.weight]),
        request_id=request_id,
        user_id=user_id,
        item_id=item_id,
        row=row,
        columns={name: tensor(values[:, position]) for position, name in enumerate(columns)},
        signals=_signals(candidate, block, places.rows),
        sizes=places.sizes,
    )


def as_padding(batch: Batch) -> Batch:
    """Turns a batch into padding: weight 0, origin PADDING, row -1."""
    return replace(
        batch,
        origin=torch.full_like(batch.origin, int(Origin.PADDING)),
        weight=torch.zeros_like(batch.weight),
        row=torch.full_like(batch.row, -1),
    )


def concat_batches(batches: Sequence[Batch]) -> Batch:
    """Joins batches of the same columns into one, in order.

    Args:
        batches: At least one.

    Returns:
        A batch with the requests of all.
    """
    if len(batches) == 1:
        return batches[0]
    shifts = [0, *accumulate(batch.num_requests for batch in batches[:-1])]

    def cat(get: Callable[[Batch], Tensor]) -> Tensor:
        return _cat([get(batch) for batch in batches])

    return Batch(
        request=_concat_blocks([batch.request for batch in batches]),
        candidate=_concat_blocks([batch.candidate for batch in batches]),
        cross=_concat_blocks([batch.cross for batch in batches]),
        request_index=_cat([b.request_index + shift for b, shift in zip(batches, shifts, strict=True)]),
        labels=cat(lambda b: b.labels),
        observed=cat(lambda b: b.observed),
        stage=cat(lambda b: b.stage),
        origin=cat(lambda b: b.origin),
        weight=cat(lambda b: b.weight),
        request_id=cat(lambda b: b.request_id),
        user_id=cat(lambda b: b.user_id),
        item_id=cat(lambda b: b.item_id),
        row=cat(lambda b: b.row),
        columns={name: _cat([b.columns[name] for b in batches]) for name in batches[0].columns},
        signals=_concat_signals([b.signals for b in batches if b.signals is not None]),
        sizes=ListSizes.joined([batch.sizes for batch in batches]),
    )


def _columns(matrix: Values) -> list[Tensor]:
    """Takes the columns of a matrix apart."""
    return list(tensor(matrix.T))


def _side(name: Side, cells: Cells, side: SideBlock, rows: Values, places: Places) -> FeatureBlock:
    sequences = {}
    for column, ragged in side.sequences.items():
        lengths, positions = places.sequences[name][column]
        longest = places.longest.get(name, {}).get(column)
        values = gather(ragged.values, positions)
        seen = places.seen.get(column) if name is Side.REQUEST else None
        own = tensor(values) if values.ndim > 1 else widened(values)
        sequences[column] = Ragged(own, tensor(lengths), longest, seen)
    return FeatureBlock(
        ids=widened(cells.ids(f"{name.value}.ids")),
        numbers=tensor(cells.numbers(f"{name.value}.numbers")),
        vectors={column: tensor(gather(values, rows)) for column, values in side.vectors.items()},
        sequences=sequences,
    )


def _signals(candidate: Cells, block: Block, rows: Values) -> TeacherSignals | None:
    if "logits" not in candidate.places:
        return None
    logits = candidate.numbers("logits")
    scored: Any = present(logits)
    for position in block.unscored:
        scored[:, position] = True
    valid: Values = scored.all(1)
    logits = tensor(zeroed(logits, valid))
    for position in block.unscored:
        logits[:, position] = torch.nan
    hidden = {name: tensor(zeroed(gather(values, rows), valid)) for name, values in block.hidden.items()}
    return TeacherSignals(logits, tensor(valid), hidden)


def _cat(tensors: Sequence[Tensor]) -> Tensor:
    """Joins tensors; those of the host on this thread alone."""
    if tensors[0].device.type != "cpu":
        return torch.cat(list(tensors))
    return torch.from_numpy(np.concatenate([tensor.numpy() for tensor in tensors]))


def _concat_blocks(blocks: Sequence[FeatureBlock]) -> FeatureBlock:
    first = blocks[0]
    return FeatureBlock(
        ids=_cat([block.ids for block in blocks]),
        numbers=_cat([block.numbers for block in blocks]),
        vectors={name: _cat([block.vectors[name] for block in blocks]) for name in first.vectors},
        sequences={name: _concat_rows([block.sequences[name] for block in blocks]) for name in first.sequences},
    )


def _concat_rows(rows: Sequence[Ragged]) -> Ragged:
    known = [row.longest for row in rows if row.longest is not None]
    longest = max(known) if len(known) == len(rows) else None
    pairs = [row.seen for row in rows if row.seen is not None]
    seen = sum(pairs) if len(pairs) == len(rows) else None
    return Ragged(_cat([row.values for row in rows]), _cat([row.lengths for row in rows]), longest, seen)


def _concat_signals(signals: Sequence[TeacherSignals]) -> TeacherSignals | None:
    if not signals:
        return None
    return TeacherSignals(
        logits=_cat([s.logits for s in signals]),
        valid=_cat([s.valid for s in signals]),
        hidden={name: _cat([s.hidden[name] for s in signals]) for name in signals[0].hidden},
    )
