"""The types that flow from the reader to the loss.

Shapes: R requests, N candidates of all requests of the batch, F id fields, M number fields, W width of a
vector field, K tasks. `request_index` maps each candidate to its request and is sorted, so the candidates of
a request are contiguous. Flat data has R = N.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from distill.codes import MISSING_KEY, Origin, Stage
from distill.list_sizes import ListSizes

__all__ = [
    "MISSING_KEY",
    "Batch",
    "FeatureBlock",
    "LossReport",
    "Origin",
    "Penalty",
    "Ragged",
    "RankerOutput",
    "Stage",
    "TeacherSignals",
    "TensorStruct",
]

_T = TypeVar("_T", bound="TensorStruct")


def _map(value: Any, function: Callable[[Tensor], Tensor]) -> Any:
    if isinstance(value, Tensor):
        return function(value)
    if isinstance(value, TensorStruct):
        return value.map(function)
    if isinstance(value, Mapping):
        return {name: _map(item, function) for name, item in value.items()}
    return value


class TensorStruct:
    """Base of the frozen dataclasses of tensors: moves every tensor below it."""

    def map(self: _T, function: Callable[[Tensor], Tensor]) -> _T:
        """Returns a copy with `function` applied to every tensor."""
        changes = {f.name: _map(getattr(self, f.name), function) for f in fields(self)}  # type: ignore[arg-type]
        return replace(self, **changes)  # type: ignore[type-var]

    def tensors(self) -> list[Tensor]:
        """Returns every tensor below it, in the order in which `map` meets them."""
        found: list[Tensor] = []

        def keep(tensor: Tensor) -> Tensor:
            found.append(tensor)
            return tensor

        self.map(keep)
        return found

    def to(self: _T, device: torch.device | str) -> _T:
        """Returns a copy on `device`."""
        return self.map(lambda tensor: tensor.to(device))


@dataclass(frozen=True)
class Ragged(TensorStruct):
    """Variable-length rows without padding.

    An exported model reads them padded instead, since the sizes of its tensors then follow from its inputs:
    `values [B, L]` (of vectors `[B, L, W]`), each row from its first place on, and layers are given rows `[B, L, D]`
    of embeddings.

    Attributes:
        values: Of all rows, one row after the other: ids `[sum(lengths)]` int64, or vectors `[sum(lengths), W]`
            float32.
        lengths: Length of each row `[B]` int64.
        longest: No row is longer, as far as the host knows; None if only the lengths tell.
        seen: Of a request's fields, how many values all candidates see at most, each those of its request; None if it
            is not known.
    """

    values: Tensor
    lengths: Tensor
    longest: int | None = None
    seen: int | None = None

    def measured(self, counts: npt.NDArray[np.int64] | None = None) -> Ragged:
        """Returns the same with `longest` found from the lengths, for who must not look at them later.

        Args:
            counts: Candidates of each row `[B]`, or of the first ones, if it is a request; for `seen`.
        """
        lengths = self.lengths.numpy()
        seen = None if counts is None else int(lengths[: counts.size] @ counts)
        return replace(self, longest=int(lengths.max(initial=0)), seen=seen)

    def select(self, rows: Tensor, are_all: bool = False) -> Ragged:
        """Returns the rows at positions `rows [B']`.

        Args:
            rows: Which.
            are_all: Whether these are all rows in another order, so that the device need not say how many values
                they have.
        """
        lengths = self.lengths.index_select(0, rows)
        starts = (self.lengths.cumsum(0) - self.lengths).index_select(0, rows)
        count = self.values.shape[0] if are_all else None
        shift = torch.repeat_interleave(starts - (lengths.cumsum(0) - lengths), lengths, output_size=count)
        positions = torch.arange(shift.shape[0], device=shift.device) + shift
        return Ragged(self.values.index_select(0, positions), lengths, self.longest)

    def laid_out(self, rows: Tensor, kept: Tensor | None = None) -> Ragged:
        """Returns the rows at positions `rows [B']`, measured, and one more that has as many values as are left of the
        most that they can have: a device need not say how many they are.

        Args:
            rows: Which.
            kept: Which values of them `[B', longest]` bool; all if None.
        """
        longest = (self.longest or 0) if self.values.shape[0] else 0
        lengths = self.lengths.index_select(0, rows)
        starts = (self.lengths.cumsum(0) - self.lengths).index_select(0, rows)
        place = torch.arange(longest, device=rows.device)
        there = place < lengths.unsqueeze(1)
        taken = there if kept is None else there & kept[:, :longest]
        size, position = taken.numel(), (starts.unsqueeze(1) + place).flatten()
        target = torch.where(taken.flatten(), taken.flatten().cumsum(0) - 1, size)
        source = torch.zeros(size + 1, dtype=torch.int64, device=rows.device).scatter_(0, target, position)[:size]
        counts = taken.sum(1)
        spare = size - counts.sum(0, keepdim=True)
        return Ragged(self.values.index_select(0, source), torch.cat([counts, spare]), self.longest)

    def joined(self, other: Ragged) -> Ragged:
        """Returns the rows of both, the own first."""
        known = None if self.longest is None or other.longest is None else max(self.longest, other.longest)
        return Ragged(torch.cat([self.values, other.values]), torch.cat([self.lengths, other.lengths]), known)


@dataclass(frozen=True)
class FeatureBlock(TensorStruct):
    """The fields of one side, in schema order.

    Attributes:
        ids: `[B, F]` int64, local to each field's embedding table.
        numbers: `[B, M]` float32.
        vectors: Field name to `[B, W]` float32.
        sequences: Field name to a `Ragged` of B rows.
    """

    ids: Tensor
    numbers: Tensor
    vectors: Mapping[str, Tensor]
    sequences: Mapping[str, Ragged]

    def measured(self, counts: npt.NDArray[np.int64] | None = None) -> FeatureBlock:
        """Returns the same with the lengths of its sequences known to the host; see `Ragged.measured`."""
        return replace(self, sequences={name: ragged.measured(counts) for name, ragged in self.sequences.items()})

    @property
    def num_rows(self) -> int:
        """B."""
        rows: int = self.ids.shape[0]  # of an exported program it is a symbol, which int() would make a constant
        return rows

    @property
    def is_measured(self) -> bool:
        """Whether the host knows how long sequences are at most."""
        return all(ragged.longest is not None for ragged in self.sequences.values())

    def select(self, rows: Tensor, are_all: bool = False) -> FeatureBlock:
        """Returns the rows at positions `rows [B']`; see `Ragged.select`."""
        return FeatureBlock(
            ids=self.ids.index_select(0, rows),
            numbers=self.numbers.index_select(0, rows),
            vectors={name: value.index_select(0, rows) for name, value in self.vectors.items()},
            sequences={name: value.select(rows, are_all) for name, value in self.sequences.items()},
        )

    def laid_out(self, rows: Tensor) -> FeatureBlock:
        """Returns the rows at positions `rows [B']` of a measured block, and one more; see `Ragged.laid_out`."""
        found = replace(self, sequences={}).select(torch.cat([rows, rows[:1]]))
        return replace(found, sequences={name: value.laid_out(rows) for name, value in self.sequences.items()})

    def joined(self, other: FeatureBlock) -> FeatureBlock:
        """Returns the rows of both, which hold the same fields, the own first."""
        return FeatureBlock(
            ids=torch.cat([self.ids, other.ids]),
            numbers=torch.cat([self.numbers, other.numbers]),
            vectors={name: torch.cat([value, other.vectors[name]]) for name, value in self.vectors.items()},
            sequences={name: value.joined(other.sequences[name]) for name, value in self.sequences.items()},
        )


@dataclass(frozen=True)
class TeacherSignals(TensorStruct):
    """What the teacher says of the candidates of a batch, wherever it comes from.

    Attributes:
        logits: `[N, K]` float32; rows that are not `valid` hold 0, and the column of a task that the teacher does not
            score at all holds NaN, which no loss takes for a score.
        valid: `[N]` bool, whether the teacher scored the row, in all tasks that it scores.
        hidden: Declared name to hidden vectors `[N, W]`.
    """

    logits: Tensor
    valid: Tensor
    hidden: Mapping[str, Tensor]

    def select(self, rows: Tensor) -> TeacherSignals:
        """Returns the signals of the candidates at positions `rows [N']`."""
        return self.map(lambda tensor: tensor.index_select(0, rows))

    def told(self, rows: Tensor, said: TeacherSignals) -> TeacherSignals:
        """Returns the signals with others `said` of the candidates at positions `rows [N']`, by at least the same
        hidden vectors."""
        return TeacherSignals(
            logits=self.logits.index_copy(0, rows, said.logits),
            valid=self.valid.index_copy(0, rows, said.valid),
            hidden={name: own.index_copy(0, rows, said.hidden[name]) for name, own in self.hidden.items()},
        )


@dataclass(frozen=True)
class Batch(TensorStruct):
    """Whole requests with all their candidates.

    Attributes:
        request: Request-side fields, R rows.
        candidate: Candidate-side fields (the item alone), N rows.
        cross: Fields of the (request, candidate) pair, N rows.
        request_index: `[N]` int64, sorted.
        labels: `[N, K]` float32; 0 where not observed.
        observed: `[N, K]` bool.
        stage: `[N]` int64, values of `Stage`.
        origin: `[N]` int64, values of `Origin`.
        weight: `[N]` float32, what a row counts for; 0 on padding rows, and on rows that count for nothing: no loss,
            sample rule or metric looks at either.
        request_id: `[R]` int64, for grouping.
        user_id: `[R]` int64, for grouping; `MISSING_KEY` of an unknown user.
        item_id: `[N]` int64, for grouping; `MISSING_KEY` of an unknown item.
        row: `[N]` int64, position of the row in its split, unique; -1 on rows that a sampler made.
        columns: Column name to `[N]` float32: columns of the ranking score and of evaluation.
        signals: Teacher signals of the rows.
        log_q: `[N]` float32, of rows that a sampler added: the logarithm of the probability that a draw gives their
            item; 0 on others. None if no sampler added any.
        logged: `[N, K]` bool, which of the observed labels are the log's. None if all are: no sampler added any.
        grades: `[N, K]` float32: the labels of log rows; of rows that a sampler labelled, 1 for a positive and 0 for a
            negative, whatever the value of the label. None if no sampler labelled any.
        is_ready: Whether sample rules have seen it and rows that nobody needs are left out.
        on_host: Names of fields that nothing on a device reads: they stay on the host.
        padding: How many of the last rows are there for the batch's shape alone; None if it has the shape that it has.
        sizes: What the host knows of how many candidates requests have; None if nothing.
    """

    request: FeatureBlock
    candidate: FeatureBlock
    cross: FeatureBlock
    request_index: Tensor
    labels: Tensor
    observed: Tensor
    stage: Tensor
    origin: Tensor
    weight: Tensor
    request_id: Tensor
    user_id: Tensor
    item_id: Tensor
    row: Tensor
    columns: Mapping[str, Tensor]
    signals: TeacherSignals | None = None
    log_q: Tensor | None = None
    logged: Tensor | None = None
    grades: Tensor | None = None
    is_ready: bool = False
    on_host: tuple[str, ...] = ()
    padding: int | None = None
    sizes: ListSizes | None = None

    def measured(self) -> Batch:
        """Returns the same with the lengths of all sequences and lists known to the host, where the batch still is:
        who pads them need not ask a device for the longest."""
        positive = (self.relevance.numpy() > 0) & self.observed.numpy()
        counts = np.bincount(self.request_index.numpy()).astype(np.int64)
        return replace(
            self,
            request=self.request.measured(counts) if self.request.sequences else self.request,
            candidate=self.candidate.measured() if self.candidate.sequences else self.candidate,
            cross=self.cross.measured() if self.cross.sequences else self.cross,
            sizes=ListSizes.of(counts, int(np.count_nonzero(positive))),
        )

    @property
    def relevance(self) -> Tensor:
        """By what candidates are ordered `[N, K]`: the labels, where a label is an estimate (a soft pseudo-label) the
        grade that it stands for. Terms on values (cross-entropy, squared error) read `labels`."""
        return self.labels if self.grades is None else self.grades

    @property
    def positive(self) -> Tensor:
        """Which candidates are positives of which tasks `[N, K]` bool: relevance above 0, observed."""
        return (self.relevance > 0) & self.observed

    @property
    def num_requests(self) -> int:
        """R."""
        return int(self.request_id.shape[0])

    @property
    def num_candidates(self) -> int:
        """N."""
        return int(self.request_index.shape[0])

    @property
    def labelled(self) -> Tensor:
        """Which labels are the log's own, on rows that weigh something `[N, K]` bool: what the penalties of models act
        on, whatever the loss and the sample rules of the run."""
        of_log = self.observed if self.logged is None else self.logged
        return of_log & (self.weight > 0).unsqueeze(1)

    def sampled(self, other: Batch) -> Batch:
        """Returns what sample rules made of this batch, `other`, with a note of which labels were here before."""
        if other is self:
            return other
        if other.num_candidates == self.num_candidates:
            return replace(other, logged=self.observed)
        added = (other.origin == Origin.RANDOM_NEGATIVE) | (other.origin == Origin.IN_BATCH_NEGATIVE)
        before = ((~added).cumsum(0) - 1).clamp(min=0)  # the others are in their order still
        return replace(other, logged=self.observed.index_select(0, before) & ~added.unsqueeze(1))

    def select(self, rows: Tensor) -> Batch:
        """Returns the candidates at ascending positions `rows [N']`; requests stay, even those left without any."""
        per_candidate = {
            name: getattr(self, name).index_select(0, rows)
            for name in ("request_index", "labels", "observed", "stage", "origin", "weight", "item_id", "row")
        }
        return replace(
            self,
            candidate=self.candidate.select(rows),
            cross=self.cross.select(rows),
            columns={name: value.index_select(0, rows) for name, value in self.columns.items()},
            signals=None if self.signals is None else self.signals.select(rows),
            log_q=None if self.log_q is None else self.log_q.index_select(0, rows),
            logged=None if self.logged is None else self.logged.index_select(0, rows),
            grades=None if self.grades is None else self.grades.index_select(0, rows),
            **per_candidate,
        )


@dataclass(frozen=True)
class Penalty(TensorStruct):
    """What a model itself adds to the loss in training: a weighted mean, as its two sums.

    They stay apart, as those of loss terms do, so that several processes divide by the rows of all of them.

    Attributes:
        numerator: Scalar with gradient: the weighted sum over this process's rows, times the weight of the penalty.
        denominator: Scalar without: the sum of the rows' weights; 1 for what is of no rows or of all processes' rows.
    """

    numerator: Tensor
    denominator: Tensor

    @classmethod
    def of_no_rows(cls, value: Tensor) -> Penalty:
        """A penalty that is the same whatever the rows of this process."""
        return cls(value, torch.ones_like(value.detach()))

    def mean(self, denominator: Tensor | None = None) -> Tensor:
        """Divides by the own denominator or the one given; 0 where it is 0."""
        divisor = self.denominator if denominator is None else denominator
        return self.numerator / torch.where(divisor > 0, divisor, 1.0)


@dataclass(frozen=True)
class RankerOutput(TensorStruct):
    """What a model says of the candidates of a batch.

    Attributes:
        logits: `[N, K]` float32.
        hidden: Declared name to hidden vectors `[N, W]`.
        penalties: Declared name to what the model itself adds to the loss in training. It depends on `Batch.labelled`
            rows alone, not on the terms of the loss.
        taught: `[N, K]` of a head that the teacher alone trains, if there is one; it is not served.
    """

    logits: Tensor
    hidden: Mapping[str, Tensor]
    penalties: Mapping[str, Penalty] = field(default_factory=dict)
    taught: Tensor | None = None


@dataclass(frozen=True)
class LossReport:
    """The value of a composite loss.

    Attributes:
        total: Scalar with gradient.
        parts: Term name to its detached, unweighted scalar; also `penalty_<name>` for what the model adds itself.
        weights: Term name to the weight in force at this step; a scalar where it is learned.
    """

    total: Tensor
    parts: Mapping[str, Tensor]
    weights: Mapping[str, float | Tensor]

    def beside(self, name: str, other: LossReport) -> LossReport:
        """Adds another loss, whose parts are called `<name>_<part>`."""
        return LossReport(
            total=self.total + other.total,
            parts={**self.parts, **{f"{name}_{part}": value for part, value in other.parts.items()}},
            weights={**self.weights, **{f"{name}_{part}": value for part, value in other.weights.items()}},
        )
