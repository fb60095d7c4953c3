"""Batches of few shapes: longer ones than they were, by rows that count for nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from distill.batch import MISSING_KEY, Batch, FeatureBlock, Origin, Ragged, TeacherSignals
from distill.list_sizes import ListSizes

_IN_OCTAVE = 8
_SPARE = 8
"""Rows for what cannot be without one: candidates want a request, and values a sequence."""


def ladder(size: int) -> int:
    """Returns the next size from `size` on that batches have: eight in each octave, so that less than an eighth of what
    is there is added. Powers of two are among them."""
    step = max(1, (1 << size.bit_length() >> 1) // _IN_OCTAVE)
    return -(-size // step) * step


@dataclass(frozen=True)
class Sizes:
    """How long a batch is, or the longest of those of all ranks.

    Attributes:
        candidates: N.
        requests: R.
        values: Of each sequence, one side after the other.
        longest: Of each sequence; -1 where only a device knows it.
        seen: Of each sequence, see `Ragged`; -1 where it is not known.
        lists: What is known of the lists (`ListSizes`): longest, squares and positives; -1 where only a device knows.
        least_candidates: N of the rank that has the fewest; None: this is the batch of one rank.
    """

    candidates: int
    requests: int
    values: tuple[int, ...]
    longest: tuple[int, ...]
    seen: tuple[int, ...]
    lists: tuple[int, ...]
    least_candidates: int | None = None

    @classmethod
    def of(cls, batch: Batch) -> Sizes:
        """Measures a batch; nothing waits for a device."""
        sequences = [ragged for block in _blocks(batch) for ragged in block.sequences.values()]
        values = tuple(ragged.values.shape[0] for ragged in sequences)
        longest = tuple(-1 if ragged.longest is None else ragged.longest for ragged in sequences)
        seen = tuple(-1 if ragged.seen is None else ragged.seen for ragged in sequences)
        known = batch.sizes
        lists = (-1, -1, None) if known is None else (known.longest, known.squares, known.positives)
        counts = tuple(-1 if number is None else number for number in lists)
        return cls(batch.num_candidates, batch.num_requests, values, longest, seen, counts)

    def of_lists(self) -> ListSizes | None:
        """Returns what is known of the lists, coarser."""
        longest, squares, positives = self.lists
        return None if longest < 0 else ListSizes(longest, squares, None if positives < 0 else positives).coarse()

    def numbers(self) -> list[int]:
        """Returns all of them but the last, in their order; the first `num_of_rows` are of rows that padding copies."""
        return [self.candidates, self.requests, *self.values, *self.longest, *self.seen, *self.lists]

    @property
    def num_of_rows(self) -> int:
        """How many of the numbers are 0 where there is no row that could be copied."""
        return 2 + 2 * len(self.values)

    def at_most(self, numbers: Sequence[int], least_candidates: int) -> Sizes:
        """Returns sizes of the same sequences, from `numbers` of them."""
        candidates, requests, *others = numbers
        count = len(self.values)
        values, longest, seen = (tuple(others[at * count : (at + 1) * count]) for at in range(3))
        lists = tuple(others[3 * count :])
        return Sizes(candidates, requests, values, longest, seen, lists, least_candidates)


def padded(batch: Batch, most: Sizes | None = None) -> Batch:
    """Returns a batch whose sizes are those of the ladder: candidates, requests, and the values and the greatest length
    of each sequence, by what it has; what is known of its lists becomes coarser. Nothing waits for a device.

    The rows that are added are copies of the first one, so that whatever is computed of them is finite and touches no
    other row of a table, but their weight is 0 and nothing of them is observed or scored. Those of candidates belong to
    requests of their own, and so do those of sequences. Without a candidate a batch stays as it is.

    Args:
        batch: As a step takes it (`Batch.is_ready`).
        most: Sizes from which on the ladder is climbed, none 0 of what the others are not: those of all ranks, which
            then have batches of one shape. None: its own.
    """
    if batch.padding is not None:
        return batch
    most = Sizes.of(batch) if most is None else most
    batch = replace(batch, sizes=most.of_lists())
    if not most.candidates:
        return replace(batch, padding=0)
    of_pairs = batch.candidate.sequences or batch.cross.sequences
    rows = ladder(most.candidates) + (_SPARE if of_pairs else 0)
    least = most.candidates if most.least_candidates is None else most.least_candidates
    alone = rows > least or batch.request.sequences
    requests = ladder(most.requests) + (_SPARE if alone else 0)
    padding = rows - batch.num_candidates
    if not padding and requests == batch.num_requests:
        return replace(batch, padding=0)
    sequences = zip(most.values, most.longest, most.seen, strict=True)
    blocks = [_block(block, n, sequences) for block, n in zip(_blocks(batch), (requests, rows, rows), strict=True)]
    return replace(
        batch,
        request=blocks[0],
        candidate=blocks[1],
        cross=blocks[2],
        request_id=_filled(batch.request_id, requests, MISSING_KEY),
        user_id=_filled(batch.user_id, requests, MISSING_KEY),
        padding=padding,
        **(_of_candidates(batch, rows) if padding else {}),
    )


def _blocks(batch: Batch) -> tuple[FeatureBlock, FeatureBlock, FeatureBlock]:
    return batch.request, batch.candidate, batch.cross


def _of_candidates(batch: Batch, rows: int) -> dict[str, Any]:
    silent = {name: getattr(batch, name) for name in ("labels", "observed", "weight", "log_q", "logged", "grades")}
    return {
        # The first request that is added has values of sequences, which no candidate is to see.
        "request_index": _filled(batch.request_index, rows, batch.num_requests + bool(batch.request.sequences)),
        "stage": _copied(batch.stage, rows),
        "origin": _filled(batch.origin, rows, int(Origin.PADDING)),
        "item_id": _filled(batch.item_id, rows, MISSING_KEY),
        "row": _filled(batch.row, rows, -1),
        "columns": {name: _copied(value, rows) for name, value in batch.columns.items()},
        "signals": None if batch.signals is None else _signals(batch.signals, rows),
        **{name: None if value is None else _filled(value, rows, 0) for name, value in silent.items()},
    }


def _block(block: FeatureBlock, rows: int, most: Iterator[tuple[int, int, int]]) -> FeatureBlock:
    """Makes a side longer; takes the sizes of its sequences from those of all that are left."""
    return FeatureBlock(
        ids=_copied(block.ids, rows),
        numbers=_copied(block.numbers, rows),
        vectors={name: _copied(value, rows) for name, value in block.vectors.items()},
        sequences={name: _ragged(value, rows, *next(most)) for name, value in block.sequences.items()},
    )


def _ragged(ragged: Ragged, rows: int, most: int, longest: int, seen: int) -> Ragged:
    """Gives the first row that is added all values that are. A model that looks at `longest` values of a row alone
    leaves out what is beyond, but must not take the sequences for full because of their number."""
    count = ladder(most)
    lengths = _filled(ragged.lengths, rows, 0)
    lengths[ragged.lengths.shape[0] :][:1] = count - ragged.values.shape[0]
    known = None if longest < 0 else ladder(longest)
    if known is not None and known * rows == count:
        known += 1
    return Ragged(_copied(ragged.values, count), lengths, known, None if seen < 0 else ladder(seen))


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
