"""Gathers batches from a block and joins batches of several shards; no loop over rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from distill.batch import Batch, FeatureBlock, Origin, Ragged, TeacherSignals
from distill.data.stream.block import Block, SideBlock, ragged_rows
from distill.data.stream.cells import Cells
from distill.data.stream.columns import Array
from distill.data.stream.packing import Ints
from distill.schema import Side


def collate(block: Block, requests: Ints, columns: tuple[str, ...]) -> Batch:
    """Gathers some requests of a block with all their candidates.

    Args:
        block: Where from.
        requests: `[R]`, positions of requests in the block, each with at least one candidate.
        columns: Names of the block's values.

    Returns:
        A batch in the order of `requests`, with weight 1 and origin LOG.
    """
    if block.ends is None:
        rows, request_index = requests, np.arange(requests.size)
    else:
        lengths, rows = ragged_rows(block.ends, requests)
        request_index = np.repeat(np.arange(requests.size), lengths)
    request, candidate = block.request.take(requests), block.candidate.take(rows)
    labels, values = candidate.numbers("labels"), candidate.numbers("values")
    absent = np.isnan(labels)
    request_id, user_id = _columns(request.key_columns)
    item_id, stage, row = _columns(candidate.key_columns)
    return Batch(
        request=_side(Side.REQUEST, request, block.sides[Side.REQUEST], requests),
        candidate=_side(Side.CANDIDATE, candidate, block.sides[Side.CANDIDATE], rows),
        cross=_side(Side.CROSS, candidate, block.sides[Side.CROSS], rows),
        request_index=torch.from_numpy(request_index),
        labels=torch.from_numpy(np.where(absent, np.float32(0), labels)),
        observed=torch.from_numpy(~absent),
        stage=stage,
        origin=torch.full((rows.size,), int(Origin.LOG)),
        weight=torch.ones(rows.size),
        request_id=request_id,
        user_id=user_id,
        item_id=item_id,
        row=row,
        columns={name: torch.from_numpy(values[:, position].copy()) for position, name in enumerate(columns)},
        signals=_signals(candidate, block, rows),
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
    shifts = torch.tensor([0, *(batch.num_requests for batch in batches[:-1])]).cumsum(0).tolist()

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
    )


def _columns(matrix: Array) -> list[Tensor]:
    """Takes the columns of a matrix apart."""
    return [torch.from_numpy(column) for column in np.ascontiguousarray(matrix.T)]


def _side(name: Side, cells: Cells, side: SideBlock, rows: Ints) -> FeatureBlock:
    sequences = {}
    for field, ragged in side.sequences.items():
        lengths, positions = ragged_rows(ragged.ends, rows)
        values = ragged.values.take(positions).astype(np.int64)
        sequences[field] = Ragged(torch.from_numpy(values), torch.from_numpy(lengths))
    return FeatureBlock(
        ids=torch.from_numpy(cells.ids(f"{name.value}.ids").astype(np.int64)),
        numbers=torch.from_numpy(cells.numbers(f"{name.value}.numbers").copy()),
        vectors={field: torch.from_numpy(values.take(rows, axis=0)) for field, values in side.vectors.items()},
        sequences=sequences,
    )


def _signals(candidate: Cells, block: Block, rows: Ints) -> TeacherSignals | None:
    if "logits" not in candidate.places:
        return None
    logits = candidate.numbers("logits").copy()
    others = list(block.unscored)
    logits[:, others] = 0
    absent = np.isnan(logits).any(axis=1)
    logits[absent] = 0
    logits[:, others] = np.nan
    hidden = {name: values.take(rows, axis=0) for name, values in block.hidden.items()}
    for values in hidden.values():
        values[absent] = 0
    tensors = {name: torch.from_numpy(values) for name, values in hidden.items()}
    return TeacherSignals(torch.from_numpy(logits), torch.from_numpy(~absent), tensors)


def _cat(tensors: Sequence[Tensor]) -> Tensor:
    """Joins tensors on this thread alone."""
    return torch.from_numpy(np.concatenate([tensor.numpy() for tensor in tensors]))


def _concat_blocks(blocks: Sequence[FeatureBlock]) -> FeatureBlock:
    first = blocks[0]
    return FeatureBlock(
        ids=_cat([block.ids for block in blocks]),
        numbers=_cat([block.numbers for block in blocks]),
        vectors={name: _cat([block.vectors[name] for block in blocks]) for name in first.vectors},
        sequences={
            name: Ragged(
                _cat([block.sequences[name].values for block in blocks]),
                _cat([block.sequences[name].lengths for block in blocks]),
            )
            for name in first.sequences
        },
    )


def _concat_signals(signals: Sequence[TeacherSignals]) -> TeacherSignals | None:
    if not signals:
        return None
    return TeacherSignals(
        logits=_cat([s.logits for s in signals]),
        valid=_cat([s.valid for s in signals]),
        hidden={name: _cat([s.hidden[name] for s in signals]) for name in signals[0].hidden},
    )
