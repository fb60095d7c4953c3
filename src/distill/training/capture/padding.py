"""Batches of few shapes: longer ones than they were, by rows that count for nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from distill.batch import MISSING_KEY, Batch, FeatureBlock, Origin, Ragged, TeacherSignals

_IN_OCTAVE = 8
_SPARE = 8
"""Rows for what cannot be without one: candidates want a request, and values a sequence."""


def ladder(size: int) -> int:
    """Returns the next size from `size` on that batches have: eight in each octave, so that less than an eighth of what
    is there is added. Powers of two are among them."""
    step = max(1, (1 << size.bit_length() >> 1) // _IN_OCTAVE)
    return -(-size // step) * step


def padded(batch: Batch) -> Batch:
    """Returns a batch whose sizes are those of the ladder: candidates, requests, and the values and the greatest length
    of each sequence, by what it has; nothing waits for a device.

    The rows that are added are copies of the first one, so that whatever is computed of them is finite and touches no
    other row of a table, but their weight is 0 and nothing of them is observed or scored. Those of candidates belong to
    requests of their own, and so do those of sequences. A batch without a candidate stays as it is.

    Args:
        batch: As a step takes it (`Batch.is_ready`).
    """
    if batch.padding is not None:
        return batch
    if not batch.num_candidates:
        return replace(batch, padding=0)
    of_pairs = batch.candidate.sequences or batch.cross.sequences
    rows = ladder(batch.num_candidates) + (_SPARE if of_pairs else 0)
    padding = rows - batch.num_candidates
    alone = padding > 0 or batch.request.sequences
    requests = ladder(batch.num_requests) + (_SPARE if alone else 0)
    if not padding and requests == batch.num_requests:
        return replace(batch, padding=0)
    return replace(
        batch,
        request=_block(batch.request, requests),
        request_id=_filled(batch.request_id, requests, MISSING_KEY),
        user_id=_filled(batch.user_id, requests, MISSING_KEY),
        padding=padding,
        **(_of_candidates(batch, rows) if padding else {}),
    )


def _of_candidates(batch: Batch, rows: int) -> dict[str, Any]:
    silent = {name: getattr(batch, name) for name in ("labels", "observed", "weight", "log_q", "logged", "grades")}
    return {
        "candidate": _block(batch.candidate, rows),
        "cross": _block(batch.cross, rows),
        "request_index": _filled(batch.request_index, rows, batch.num_requests),
        "stage": _copied(batch.stage, rows),
        "origin": _filled(batch.origin, rows, int(Origin.PADDING)),
        "item_id": _filled(batch.item_id, rows, MISSING_KEY),
        "row": _filled(batch.row, rows, -1),
        "columns": {name: _copied(value, rows) for name, value in batch.columns.items()},
        "signals": None if batch.signals is None else _signals(batch.signals, rows),
        **{name: None if value is None else _filled(value, rows, 0) for name, value in silent.items()},
    }


def _block(block: FeatureBlock, rows: int) -> FeatureBlock:
    return FeatureBlock(
        ids=_copied(block.ids, rows),
        numbers=_copied(block.numbers, rows),
        vectors={name: _copied(value, rows) for name, value in block.vectors.items()},
        sequences={name: _ragged(value, rows) for name, value in block.sequences.items()},
    )


def _ragged(ragged: Ragged, rows: int) -> Ragged:
    """Gives the first row that is added all values that are. A model that looks at `longest` values of a row alone
    leaves out what is beyond, but must not take the sequences for full because of their number."""
    count = ladder(ragged.values.shape[0])
    lengths = _filled(ragged.lengths, rows, 0)
    lengths[ragged.lengths.shape[0] :][:1] = count - ragged.values.shape[0]
    longest = None if ragged.longest is None else ladder(ragged.longest)
    if longest is not None and longest * rows == count:
        longest += 1
    return Ragged(_copied(ragged.values, count), lengths, longest)


def _signals(signals: TeacherSignals, rows: int) -> TeacherSignals:
    return TeacherSignals(
        logits=_copied(signals.logits, rows),
        valid=_filled(signals.valid, rows, 0),
        hidden={name: _copied(value, rows) for name, value in signals.hidden.items()},
    )


def _copied(values: Tensor, rows: int) -> Tensor:
    more = rows - values.shape[0]
    return torch.cat([values, values[:1].expand(more, *values.shape[1:])]) if more else values


def _filled(values: Tensor, rows: int, value: int) -> Tensor:
    more = rows - values.shape[0]
    return torch.cat([values, values.new_full((more, *values.shape[1:]), value)]) if more else values
