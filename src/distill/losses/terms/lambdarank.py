"""Pairs of different labels, weighted by what NDCG would change by, as a loss term."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from distill.batch import Batch, TeacherSignals
from distill.errors import ConfigError, DataError
from distill.losses.functional.delta_ndcg import DeltaNDCG
from distill.losses.functional.pairwise import logistic, ordered_sums
from distill.losses.schedule import Schedule
from distill.losses.terms.base import LossInputs, TermSums
from distill.losses.terms.labelled import LabelledTerm
from distill.losses.terms.lists import list_sums
from distill.ops.grades import MAX_GRADE, are_grades, gains
from distill.ops.pairs import PairBlock
from distill.ops.segment import segment_rank, segment_sum
from distill.ops.waiting import can_look


class LambdaRank(LabelledTerm):
    """Pairs of different labels, weighted by the change of NDCG if they swapped places in the student's order.

    ``Σ_{y_i > y_j} |ΔZ_ij| · (-log σ(s_i - s_j))`` over the pairs of a request, with
    ``ΔZ_ij = (1/log2(1 + π_i) - 1/log2(1 + π_j)) (2^{y_i} - 2^{y_j})``, divided by the request's ideal DCG if
    `normalise`, and π the places from 1 by the student's present scores. ΔZ gets no gradient, so minus the gradient
    with respect to s_i is ``Σ_j (λ_ij - λ_ji)`` with ``λ_ij = |ΔZ_ij| σ(s_j - s_i)`` where y_i > y_j. Reduction: sum
    over the pairs of a request, weighted mean over requests that have one, weighted sum over tasks. Gradient path: to
    the student's logits.

    Args:
        weight: Weight of the term in the total, a number or a schedule.
        rows: Row selector or several for their union.
        tasks: Names of the tasks it acts on; all of the schema's if None.
        normalise: Whether ΔZ is of NDCG (divided by the ideal DCG) or of DCG.
        cutoff: Pairs of which neither is among the first so many of the student's order are left out; none if not
            given.

    Raises:
        ConfigError: The cutoff is not at least one place.

    Labels are in [0, 50], as of `distill.metrics` NDCG: the gain of a label of 128 is not finite in float32.

    Reference: Burges, "From RankNet to LambdaRank to LambdaMART: An Overview", MSR-TR-2010-82, section 4.
    """

    compares: ClassVar[bool] = True
    over_pairs: ClassVar[bool] = True

    takes: ClassVar[tuple[str, ...]] = ("binary", "graded")  # gains are 2^y - 1

    def __init__(
        self,
        weight: float | Schedule = 1.0,
        rows: str | Sequence[str] = "all",
        tasks: Sequence[str] | None = None,
        normalise: bool = True,
        cutoff: int | None = None,
    ) -> None:
        super().__init__(weight, rows, tasks)
        if cutoff is not None and cutoff < 1:
            raise ConfigError(
                "The cutoff must keep at least one place.",
                where="LambdaRank.cutoff",
                expected="at least 1",
                found=str(cutoff),
            )
        self.normalise, self.cutoff = normalise, cutoff

    def acts_on(self, batch: Batch, signals: TeacherSignals | None) -> Tensor:
        """Says which candidates are selected and observed in any of the tasks; see `LossTerm.acts_on`.

        Raises:
            DataError: A label of them is not in [0, 50].
        """
        rows = super().acts_on(batch, signals)
        self._check(batch, self.columns_of(batch.observed) & rows.unsqueeze(1))
        return rows

    def forward(self, inputs: LossInputs) -> TermSums:
        """Computes the sums, one unit a task; not finite if a label on a device is not in [0, 50].

        Raises:
            DataError: A label of the host is not in [0, 50].
        """
        self._check(inputs.batch, self.observed(inputs))
        lists, labels = self.labelled(inputs)
        fine = are_grades(labels)
        labels = torch.where(fine, labels, 0.0)
        rank = segment_rank(lists.student.detach(), lists.index, lists.num_lists)
        change = DeltaNDCG.of(gains(labels), rank, lists.index, lists.num_lists, self.normalise)

        def importance(block: PairBlock) -> Tensor:
            if self.cutoff is None:
                return change(block)
            return change(block) * ((block.of_first(rank) < self.cutoff) | (block.of_second(rank) < self.cutoff))

        sums, amount = ordered_sums(
            lists.student, labels, lists.index, lists.counts, logistic, importance, plan=lists.plan
        )
        if lists.plan is not None:  # nobody looked at the labels: the loss shall say it
            wrong = segment_sum((~fine).to(sums.dtype), lists.index, lists.num_lists) > 0
            sums, amount = torch.where(wrong, torch.nan, sums), torch.where(wrong, 1.0, amount)
        return list_sums(self, lists, sums, (amount > 0).to(sums.dtype))

    def _check(self, batch: Batch, mask: Tensor) -> None:
        """Looks at the labels that a mask `[N, K']` takes, where that costs nothing."""
        labels = self.columns_of(batch.relevance)
        wrong = mask & ~are_grades(labels)
        if not can_look(wrong) or not bool(wrong.any()):
            return
        column, row = wrong.T.nonzero()[0].tolist()
        raise DataError(
            "LambdaRank was given a label that has no finite gain.",
            where=f"task {self.names[column]}, row {int(batch.row[row])} of the split",
            expected=f"labels in [0, {MAX_GRADE}], since gains are 2^y - 1",
            found=f"{float(labels[row, column]):g}",
            remedy="Map the grades to smaller ones, or order by RankNet or ListNet, which take any.",
        )
