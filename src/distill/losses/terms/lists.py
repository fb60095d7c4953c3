"""What the terms on pairs and lists have in common: the rows that take part, as one list per task and request."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from distill.batch import Batch
from distill.losses.functional.pairwise import Importance, ordered_sums
from distill.losses.terms.base import LossInputs, LossTerm, TermSums
from distill.ops.pairs import PairPlan
from distill.ops.segment import segment_count, segment_sum
from distill.ops.waiting import can_look, places


@dataclass(frozen=True)
class Lists:
    """The rows that take part, list after list; list ``k · R + r`` is task k of request r.

    Where the host may not look at how many rows take part, there are K'·N of them, and those that do not are one more
    list behind the others.

    Attributes:
        student: Student logits of the rows `[M]`, with gradient.
        index: List of each row `[M]`, sorted.
        counts: Rows of each list `[S]` int64, with S = K'·R or one more.
        weight: Mean weight of the rows of each list `[S]`.
        row: Row of the batch `[M]`.
        column: Task, among the term's own `[M]`.
        num_used: K'·R.
        plan: Of their pairs, where the host may not look at how long lists are.
    """

    student: Tensor
    index: Tensor
    counts: Tensor
    weight: Tensor
    row: Tensor
    column: Tensor
    num_used: int
    plan: PairPlan | None = None

    @property
    def num_lists(self) -> int:
        """S."""
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
    count, num_lists = max(logits.shape[0], 1), batch.num_requests * logits.shape[1]
    plan = plan_of(batch, num_lists, logits.shape[1]) if term.over_pairs else None
    waits = term.needs_shapes or (term.over_pairs and plan is None)
    taken = places(mask.expand_as(logits).T.flatten(), exact=waits)
    column, row = taken.rows // count, taken.rows % count
    index = taken.keep(column * batch.num_requests + batch.request_index.index_select(0, row), num_lists)
    counts = segment_count(index, num_lists if taken.real is None else num_lists + 1)
    weight = segment_sum(batch.weight.index_select(0, row).to(logits.dtype), index, counts.shape[0])
    return Lists(logits[row, column], index, counts, weight / counts.clamp(min=1), row, column, num_lists, plan)


def plan_of(batch: Batch, num_lists: int, per_row: int = 1) -> PairPlan | None:
    """Plans the pairs of lists, each of candidates of one request.

    Args:
        batch: Whose candidates.
        num_lists: How many lists.
        per_row: How many lists a candidate may be in, such as one for each task.

    Returns:
        None where the host may look at the lists, and where it must since it knows nothing of them.
    """
    if can_look(batch.weight) or batch.sizes is None:
        return None
    return PairPlan.of(num_lists, batch.num_candidates * per_row, batch.sizes.longest, batch.sizes.squares * per_row)


def list_sums(term: LossTerm, lists: Lists, values: Tensor, amount: Tensor | None = None) -> TermSums:
    """Averages the values of lists over requests, each task over the lists that have something to say.

    Args:
        term: Whose tasks are meant.
        lists: The lists.
        values: Value of each list `[S]`.
        amount: What to divide it by, such as its number of pairs; a list of 0 takes no part. Without it, lists of at
            least two rows take part.

    Returns:
        Sums with one unit a task, weighted by the schema's task weights.
    """
    used = lists.counts >= 2 if amount is None else amount > 0
    if amount is not None:
        values = values / amount.clamp(min=1e-12).to(values.dtype)
    shape = (len(term.columns), -1)
    parts = (of_list[: lists.num_used].view(shape).T for of_list in (values, used, lists.weight))
    return term.row_sums(*parts)


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
    sums = ordered_sums(lists.student, target, lists.index, lists.counts, value, importance, min_margin, lists.plan)
    return list_sums(term, lists, *sums)
