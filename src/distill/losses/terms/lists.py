"""What the terms on pairs and lists have in common: the rows that take part, as one list per task and request."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from distill.losses.functional.pairwise import pair_sums
from distill.losses.terms.base import LossInputs, LossTerm, TermSums
from distill.ops.segment import segment_count, segment_sum


@dataclass(frozen=True)
class Lists:
    """The rows that take part, list after list; list ``k · R + r`` is task k of request r.

    Attributes:
        student: Student logits of the rows `[M]`, with gradient.
        index: List of each row `[M]`, sorted.
        counts: Rows of each list `[K'·R]` int64.
        weight: Mean weight of the rows of each list `[K'·R]`.
        row: Row of the batch `[M]`.
        column: Task, among the term's own `[M]`.
    """

    student: Tensor
    index: Tensor
    counts: Tensor
    weight: Tensor
    row: Tensor
    column: Tensor

    @property
    def num_lists(self) -> int:
        """K' · R."""
        return int(self.counts.shape[0])

    def of(self, values: Tensor) -> Tensor:
        """Takes the rows' own of values per row `[N]`, or per row and task `[N, K']`: `[M]`."""
        return values[self.row] if values.dim() == 1 else values[self.row, self.column]


def lists_of(term: LossTerm, inputs: LossInputs, mask: Tensor) -> Lists:
    """Puts the rows of a mask into lists.

    Args:
        term: Whose tasks are meant.
        inputs: What the term looks at.
        mask: `[N, K']` or `[N, 1]` bool.
    """
    batch, logits = inputs.batch, term.student_logits(inputs)
    column, row = mask.expand_as(logits).T.nonzero(as_tuple=True)
    index = column * batch.num_requests + batch.request_index.index_select(0, row)
    counts = segment_count(index, batch.num_requests * logits.shape[1])
    weight = segment_sum(batch.weight.index_select(0, row).to(logits.dtype), index, counts.shape[0])
    return Lists(logits[row, column], index, counts, weight / counts.clamp(min=1), row, column)


def list_sums(term: LossTerm, lists: Lists, values: Tensor, amount: Tensor | None = None) -> TermSums:
    """Averages the values of lists over requests, each task over the lists that have something to say.

    Args:
        term: Whose tasks are meant.
        lists: The lists.
        values: Value of each list `[K'·R]`.
        amount: What to divide it by, such as its number of pairs; a list of 0 takes no part. Without it, lists of at
            least two rows take part.

    Returns:
        Sums with one unit a task, weighted by the schema's task weights.
    """
    used = lists.counts >= 2 if amount is None else amount > 0
    if amount is not None:
        values = values / amount.clamp(min=1e-12).to(values.dtype)
    shape = (term.task_columns.shape[0], -1)
    return term.row_sums(values.view(shape).T, used.view(shape).T, lists.weight.view(shape).T)


def pair_means(
    term: LossTerm, lists: Lists, values: Tensor, better: Tensor, importance: Tensor | None = None
) -> TermSums:
    """Averages the values of pairs over each list, then over requests.

    Args:
        term: Whose tasks are meant.
        lists: The lists.
        values: Value of each pair `[P]`.
        better: One row of each pair `[P]`.
        importance: Weight of each pair in its list's mean `[P]`; 1 if not given.

    Returns:
        As `list_sums`; a list without a pair takes no part.
    """
    weight = torch.ones_like(values) if importance is None else importance
    sums, amount = (pair_sums(x, better, lists.index, lists.num_lists) for x in (values * weight, weight))
    return list_sums(term, lists, sums, amount)
