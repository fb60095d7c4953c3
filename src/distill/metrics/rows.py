"""The table that metrics are computed on: one scored candidate a row, in an order that no sharding can change.

Shapes: N candidates in R requests, K tasks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import NamedTuple

import torch
from torch import Tensor

from distill.batch import Batch, TeacherSignals, TensorStruct
from distill.errors import DataError


@dataclass(frozen=True)
class ScoredRows(TensorStruct):
    """Candidates with what the student and, where there is one, the teacher say of them.

    Attributes:
        row: `[N]` int64, position of the row in its split, unique.
        request_id: `[N]` int64.
        user_id: `[N]` int64.
        item_id: `[N]` int64.
        logits: `[N, K]`.
        score: `[N]`, the number candidates are ordered by.
        labels: `[N, K]`.
        observed: `[N, K]` bool.
        stage: `[N]` int64, values of `Stage`.
        weight: `[N]`; 0 on padding rows, and on those that count for nothing.
        columns: Column name to `[N]`.
        teacher_logits: `[N, K]` or None; NaN in the columns of tasks that it does not score.
        teacher_score: `[N]` or None, the ranking score by the teacher; None also if it scores no task of that score.
        teacher_valid: `[N]` bool or None, whether the teacher scored the row; given with the logits.
    """

    row: Tensor
    request_id: Tensor
    user_id: Tensor
    item_id: Tensor
    logits: Tensor
    score: Tensor
    labels: Tensor
    observed: Tensor
    stage: Tensor
    weight: Tensor
    columns: Mapping[str, Tensor]
    teacher_logits: Tensor | None = None
    teacher_score: Tensor | None = None
    teacher_valid: Tensor | None = None

    @property
    def num_rows(self) -> int:
        """N."""
        return int(self.row.shape[0])

    def select(self, rows: Tensor) -> ScoredRows:
        """Takes rows by a mask `[N]` bool or by position `[M]` int64."""
        return self.map(lambda tensor: tensor[rows])


def rows_of_batch(
    batch: Batch,
    logits: Tensor,
    score: Callable[[Tensor, Mapping[str, Tensor]], Tensor],
    signals: TeacherSignals | None = None,
    teacher_score: Callable[[Tensor, Mapping[str, Tensor]], Tensor] | None = None,
) -> ScoredRows:
    """Pairs what a model says of a batch with labels, keys and the teacher's scores.

    Args:
        batch: N candidates.
        logits: `[N, K]`.
        score: Makes the ranking score `[N]` from logits and columns.
        signals: The teacher's word on them.
        teacher_score: The same of the teacher's logits; None if it orders no candidates.
    """
    return ScoredRows(
        row=batch.row,
        request_id=batch.request_id.index_select(0, batch.request_index),
        user_id=batch.user_id.index_select(0, batch.request_index),
        item_id=batch.item_id,
        logits=logits,
        score=score(logits, batch.columns),
        labels=batch.labels,
        observed=batch.observed,
        stage=batch.stage,
        weight=batch.weight,
        columns=batch.columns,
        teacher_logits=None if signals is None else signals.logits,
        teacher_score=None
        if signals is None or teacher_score is None
        else teacher_score(signals.logits, batch.columns),
        teacher_valid=None if signals is None else signals.valid,
    )


class CanonicalRows(NamedTuple):
    """Rows in canonical order, and what was left out or moved to get there.

    Attributes:
        rows: The table.
        num_padding: Rows of weight 0 that were dropped.
        num_weightless: Those of them that are of the split: the log says that they count for nothing.
        num_duplicates: Further copies of a row that were dropped.
        num_cut_requests: Requests whose rows were not contiguous in the split and were brought together.
    """

    rows: ScoredRows
    num_padding: int
    num_weightless: int
    num_duplicates: int
    num_cut_requests: int


def teacher_rows(rows: ScoredRows) -> ScoredRows | None:
    """Puts the teacher in the student's place, on the rows that it scored; None when there is no teacher.

    Without a ranking score of the teacher the score is NaN, by which nothing can be ordered.
    """
    if rows.teacher_logits is None:
        return None
    score = torch.full_like(rows.score, torch.nan) if rows.teacher_score is None else rows.teacher_score
    teacher = replace(rows, logits=rows.teacher_logits, score=score)
    return teacher if rows.teacher_valid is None else teacher.select(rows.teacher_valid)


def concatenate(parts: Sequence[ScoredRows]) -> ScoredRows:
    """Puts tables one after the other.

    Args:
        parts: At least one table, all with the same columns and the same teacher parts.

    Returns:
        One table; of a single one, itself.

    Raises:
        DataError: If there is no table or they differ in their columns.
    """
    if not parts:
        raise DataError("There are no rows to measure.", remedy="Check that the split is not empty.")
    if len(parts) == 1:
        return parts[0]
    named = [to_tensors(part) for part in parts]
    for other in named[1:]:
        if other.keys() != named[0].keys():
            raise DataError(
                "Batches of one evaluation differ in their columns.",
                expected=", ".join(named[0]),
                found=", ".join(other),
            )
    return from_tensors({name: torch.cat([tensors[name] for tensors in named]) for name in named[0]})


def canonical(rows: ScoredRows) -> CanonicalRows:
    """Puts rows into the one order that depends on the split only.

    Rows of weight 0 are dropped; the others are sorted by `row`, and of several copies of a `row`, which must be of the
    same candidate, one stays. The rows of a request that is cut in two are brought together, at its first row. So any
    sharding of the split over ranks, padded or not, gives bit-identical tables.

    Args:
        rows: N rows in any order; the table shares their memory if they are in order already.

    Returns:
        The table and the counts of what changed.

    Raises:
        DataError: If a row has no position in the split, or two different candidates have the same.
    """
    if _in_order(rows):
        table, num_cut = _bring_together(rows)
        return CanonicalRows(table, 0, 0, 0, num_cut)
    real = (rows.weight != 0).nonzero()[:, 0]
    if bool((rows.row[real] < 0).any()):
        raise DataError(
            "An evaluation holds rows that are not of the split.",
            expected="row ≥ 0",
            found=f"{int((rows.row[real] < 0).sum())} rows with row < 0",
            remedy="Switch sampling off in evaluation.",
        )
    order = real[torch.argsort(rows.row[real], stable=True)]
    again = torch.zeros_like(order, dtype=torch.bool)
    again[1:] = rows.row[order][1:] == rows.row[order][:-1]
    _check_copies(rows, order, again)
    table, num_cut = _bring_together(rows.select(order[~again]))
    weightless = int(((rows.weight == 0) & (rows.row >= 0)).sum())
    return CanonicalRows(table, rows.num_rows - real.numel(), weightless, int(again.sum()), num_cut)


def _in_order(rows: ScoredRows) -> bool:
    """Whether no row has to be dropped or moved, as when one process goes through a split: then nothing is copied."""
    return bool((rows.weight != 0).all() & (rows.row[1:] > rows.row[:-1]).all() & (rows.row[:1] >= 0).all())


def _check_copies(rows: ScoredRows, order: Tensor, again: Tensor) -> None:
    """Raises `DataError` unless a row that comes again in `order` is of the candidate that the one before it is of."""
    copy, original = order[1:][again[1:]], order[:-1][again[1:]]
    differs = (rows.request_id[copy] != rows.request_id[original]) | (rows.item_id[copy] != rows.item_id[original])
    if bool(differs.any()):
        raise DataError(
            "Two candidates of a split have the same position.",
            where=f"row {int(rows.row[copy][differs][0])}",
            expected="one request and one item for each row",
            found=f"{int(differs.sum())} positions with several",
            remedy="Number the rows through all files of the split.",
        )


def _bring_together(rows: ScoredRows) -> tuple[ScoredRows, int]:
    """Makes requests contiguous, in the order of their first rows; also counts those that were not."""
    runs = _request_runs(rows)
    distinct, run_request = torch.unique(rows.request_id[runs], return_inverse=True)
    if distinct.numel() == runs.numel():
        return rows, 0
    first = torch.full_like(distinct, rows.num_rows).scatter_reduce(0, run_request, runs, "amin")
    run_of_row = _run_of_row(rows, runs)
    order = torch.argsort(first[run_request][run_of_row], stable=True)
    num_cut = int((torch.bincount(run_request) > 1).sum())
    return rows.select(order), num_cut


def _request_runs(rows: ScoredRows) -> Tensor:
    """First row of each run of equal `request_id`."""
    change = torch.ones_like(rows.request_id, dtype=torch.bool)
    change[1:] = rows.request_id[1:] != rows.request_id[:-1]
    return change.nonzero()[:, 0]


def _run_of_row(rows: ScoredRows, runs: Tensor) -> Tensor:
    """Number of the run of each row `[N]` int64."""
    starts = torch.zeros_like(rows.request_id)
    starts[runs] = 1
    return starts.cumsum(0) - 1


def request_index(rows: ScoredRows) -> tuple[Tensor, int]:
    """Numbers the requests of a canonical table.

    Args:
        rows: N rows, requests contiguous.

    Returns:
        `index [N]` int64, sorted, and R. Request r has the id `rows.request_id[index == r]`.

    Raises:
        DataError: If a request is cut in two.
    """
    runs = _request_runs(rows)
    if torch.unique(rows.request_id[runs]).numel() != runs.numel():
        raise DataError(
            "The candidates of a request are not contiguous.",
            expected="a canonical table",
            found=f"{runs.numel()} runs of {int(torch.unique(rows.request_id).numel())} requests",
            remedy="Order the rows with distill.metrics.rows.canonical.",
        )
    return _run_of_row(rows, runs), runs.numel()


def request_ids(rows: ScoredRows) -> Tensor:
    """Ids of the requests of a canonical table `[R]` int64, in the order of `request_index`."""
    return rows.request_id[_request_runs(rows)]


_COLUMN = "columns."


def to_tensors(rows: ScoredRows) -> dict[str, Tensor]:
    """Names every tensor of a table; a column is named `columns.<name>`, absent parts are left out."""
    named = {field.name: getattr(rows, field.name) for field in fields(rows) if field.name != "columns"}
    tensors = {name: tensor for name, tensor in named.items() if tensor is not None}
    return tensors | {_COLUMN + name: rows.columns[name] for name in sorted(rows.columns)}


def from_tensors(tensors: Mapping[str, Tensor]) -> ScoredRows:
    """Inverse of `to_tensors`."""
    columns = {name.removeprefix(_COLUMN): tensor for name, tensor in tensors.items() if name.startswith(_COLUMN)}
    parts = {name: tensor for name, tensor in tensors.items() if not name.startswith(_COLUMN)}
    return ScoredRows(columns=columns, **parts)
