"""Metrics of the student's order against a reference order of the same candidates: the teacher's, or a column's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from distill.metrics.base import CutoffMetric, RequestMetric, cutoffs
from distill.metrics.evaluation import Evaluation
from distill.metrics.functional.kendall import count_pairs_of
from distill.metrics.functional.overlap import overlap_per_request
from distill.metrics.functional.reduce import PerRequest
from distill.metrics.functional.requests import Requests
from distill.metrics.functional.ties import TiedRanks, tied_ranks
from distill.metrics.goal import DOWN, UP, Goal
from distill.metrics.rows import ScoredRows
from distill.ops.segment import segment_sum


class Reference(NamedTuple):
    """A number to order candidates by `[N]`, and the rows `[N]` that have it."""

    score: Tensor
    valid: Tensor

    def covered(self, *columns: Tensor) -> list[Tensor]:
        """Takes the rows of `columns [N]` that have it."""
        if bool(self.valid.all()):
            return list(columns)
        (rows,) = self.valid.nonzero(as_tuple=True)
        return [column.index_select(0, rows) for column in columns]

    def uncovered(self, what: str) -> str | None:
        """Says how many rows are left out, or None when all have the number."""
        have, rows = int(self.valid.sum()), self.valid.numel()
        return None if have == rows else f"{what} of {have} of {rows} rows; the other rows are left out"


class OverlapWithTeacher(CutoffMetric):
    """`teacher_recall@<k>_<m>`: share of the teacher's top-m in the student's top-k, by the ranking score of each.

    On the candidates that the teacher scored. Requests with no more than k of them, or no more than m, or all tied by
    the teacher would give the same whatever the student does: they are skipped and counted. Expected value under
    random, independent breaking of ties.

    Args:
        ks: How many the student passes on: one result each.
        m: How many of the teacher's best are wanted.
    """

    def __init__(self, ks: Sequence[int] = (20,), m: int = 10) -> None:
        self.ks = cutoffs(ks, "metrics.*.ks")
        (self.m,) = cutoffs((m,), "metrics.*.m")

    @property
    def goals(self) -> Mapping[str, Goal]:
        """More is better."""
        return {f"teacher_recall@{k}_{self.m}": UP for k in self.ks}

    def per_request(self, evaluation: Evaluation) -> Mapping[str, PerRequest]:
        """Returns `teacher_recall@<k>_<m>` of each request."""
        return _overlaps("teacher_recall", evaluation, teacher_reference(evaluation.rows), self.ks, self.m)

    def missing(self, evaluation: Evaluation) -> str | None:
        """Says that there are no teacher scores, or not for all rows."""
        return _teacher_missing(evaluation.rows)


class OverlapWithColumn(CutoffMetric):
    """`<name>@<k>_<m>`: share of the top-m by a column (a known utility, a logged score) in the student's top-k.

    As `OverlapWithTeacher`, on the rows whose column is not NaN.

    Args:
        column: Name of the column; higher is better.
        name: First part of the name of the results, such as `best_recall`.
        ks: How many the student passes on: one result each.
        m: How many of the column's best are wanted.
    """

    def __init__(self, column: str, name: str, ks: Sequence[int] = (20,), m: int = 10) -> None:
        self.column = column
        self.name = name
        self.ks = cutoffs(ks, "metrics.*.ks")
        (self.m,) = cutoffs((m,), "metrics.*.m")

    @property
    def goals(self) -> Mapping[str, Goal]:
        """More is better."""
        return {f"{self.name}@{k}_{self.m}": UP for k in self.ks}

    def per_request(self, evaluation: Evaluation) -> Mapping[str, PerRequest]:
        """Returns `<name>@<k>_<m>` of each request."""
        return _overlaps(self.name, evaluation, self._reference(evaluation.rows), self.ks, self.m)

    def missing(self, evaluation: Evaluation) -> str | None:
        """Says that there is no such column, or that it is NaN in places."""
        reference = self._reference(evaluation.rows)
        if reference is None:
            columns = ", ".join(sorted(evaluation.rows.columns)) or "none"
            return f"no column {self.column!r} (there are: {columns})"
        return reference.uncovered(f"column {self.column!r}")

    def _reference(self, rows: ScoredRows) -> Reference | None:
        values = rows.columns.get(self.column)
        return None if values is None else Reference(values, ~torch.isnan(values))


class OrderAgreement(RequestMetric):
    """`teacher_kendall_tau` (τ-b) and `teacher_inversion_rate` of the student's order against the teacher's.

    Both by the ranking score, on the candidates that the teacher scored. τ-b is not defined for requests of which one
    side ties all candidates; the inversion rate (ties ½) for those that the teacher does not order. They are skipped
    and counted.
    """

    @property
    def goals(self) -> Mapping[str, Goal]:
        """A higher correlation and a lower rate are better."""
        return {"teacher_kendall_tau": UP, "teacher_inversion_rate": DOWN}

    def per_request(self, evaluation: Evaluation) -> Mapping[str, PerRequest]:
        """Returns both for each request."""
        reference = teacher_reference(evaluation.rows)
        if reference is None:
            return {}
        orders = covered_orders(evaluation, reference)
        counts = count_pairs_of(orders.student, orders.reference, orders.requests)
        return {"teacher_kendall_tau": counts.tau_b(), "teacher_inversion_rate": counts.inversion_rate()}

    def missing(self, evaluation: Evaluation) -> str | None:
        """Says that there are no teacher scores, or not for all rows."""
        return _teacher_missing(evaluation.rows)


def teacher_reference(rows: ScoredRows) -> Reference | None:
    """Returns the teacher's ranking score; None without a teacher, or if it scores no task of that score."""
    if rows.teacher_score is None:
        return None
    everywhere = torch.ones_like(rows.row, dtype=torch.bool)
    return Reference(rows.teacher_score, everywhere if rows.teacher_valid is None else rows.teacher_valid)


def _teacher_missing(rows: ScoredRows) -> str | None:
    reference = teacher_reference(rows)
    if reference is not None:
        return reference.uncovered("teacher scores")
    if rows.teacher_logits is not None:
        return "the teacher scores no task of the ranking score"
    return "no teacher scores came with the rows"


def _overlaps(
    name: str, evaluation: Evaluation, reference: Reference | None, ks: Sequence[int], m: int
) -> dict[str, PerRequest]:
    """Overlaps at every k; none without a reference."""
    if reference is None:
        return {}
    student, wanted, requests = covered_orders(evaluation, reference)
    size, ordered = requests.size, segment_sum(wanted.better, wanted.index, wanted.num_requests) > 0
    matters = (size > m) & ordered
    return {f"{name}@{k}_{m}": overlap_per_request(student, wanted, k, m).where(matters) for k in ks}


class Orders(NamedTuple):
    """Two orders of the candidates that have a reference; requests keep their numbers when rows are left out."""

    student: TiedRanks
    reference: TiedRanks
    requests: Requests


def covered_orders(evaluation: Evaluation, reference: Reference) -> Orders:
    """Ranks the rows that have a reference by the student's ranking score and by it, once for all metrics."""

    def find() -> Orders:
        index, num_requests = evaluation.requests
        score, wanted, index = reference.covered(evaluation.rows.score, reference.score, index)
        if index.numel() == evaluation.rows.num_rows:
            requests, student = evaluation.grouped, evaluation.ranks(None)
        else:
            requests = Requests(index, num_requests)
            student = tied_ranks(score, index, num_requests, requests)
        return Orders(student, tied_ranks(wanted, index, num_requests, requests), requests)

    return evaluation.once(("orders", id(reference.score)), find)  # a tensor of the table, which lives as long
