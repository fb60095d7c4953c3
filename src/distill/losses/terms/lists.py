"""What the terms on pairs and lists have in common: the rows that take part, as one list per task and request."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from distill.losses.functional.pairwise import Importance, ordered_sums
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
    term: LossTerm,
    lists: Lists,
    target: Tensor,
    value: Callable[[Tensor], Tensor],
    importance: Importance | None = None,
    min_margin: float = 0.0,
) -> TermSums:
    """Averages a function of score differences over the pairs of each list that a target orders, then over requests.

    Args:
        term: Whose tasks are meant.
        lists: The lists.
        target: What orders the rows `[M]`.
        value: Of the better's score minus the worse's.
        importance: Weight of each pair in its list's mean; 1 if not given.
        min_margin: Pairs whose targets differ by at most this are left out.

    Returns:
        As `list_sums`; a list without a pair takes no part.
    """
    sums = ordered_sums(lists.student, target, lists.index, lists.counts, value, importance, min_margin)
    return list_sums(term, lists, *sums)
