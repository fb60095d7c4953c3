"""Squared differences between the teacher's and the student's predictions, as loss terms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from distill.losses.functional.mse import logit_mse, prob_mse
from distill.losses.schedule import Schedule
from distill.losses.terms.base import LossInputs, LossTerm, TermSums


class LogitMSE(LossTerm):
    """The squared difference of the student's and the teacher's logits.

    ``Σ_k λ_k · Σ_i w_i (s_ik - t_ik)² / Σ_i w_i`` over selected rows that the teacher scored, with task weights λ and
    row weights w. Reduction: weighted mean over rows, weighted sum over tasks. Gradient path: to the student's logits
    only. Temperature scaling: none.

    Args:
        weight: Weight of the term in the total, a number or a schedule.
        rows: Row selector or several for their union.
        tasks: Names of the tasks it acts on; all of the schema's if None.
    """

    needs_signals: ClassVar[bool] = True

    def __init__(
        self, weight: float | Schedule = 1.0, rows: str | Sequence[str] = "scored", tasks: Sequence[str] | None = None
    ) -> None:
        super().__init__(weight, rows, tasks)

    def forward(self, inputs: LossInputs) -> TermSums:
        """Computes the sums, one unit a task."""
        values = logit_mse(self.student_logits(inputs), self.teacher_logits(inputs))
        return self.row_sums(values, self.selected(inputs).unsqueeze(1), inputs.batch.weight)


class ProbMSE(LossTerm):
    """The squared difference of the student's and the teacher's probabilities.

    ``Σ_k λ_k · Σ_i w_i (σ(s_ik) - σ(t_ik))² / Σ_i w_i`` over selected rows that the teacher scored, with task weights λ
    and row weights w. Reduction: weighted mean over rows, weighted sum over tasks. Gradient path: to the student's
    logits only. Temperature scaling: none.

    Args:
        weight: Weight of the term in the total, a number or a schedule.
        rows: Row selector or several for their union.
        tasks: Names of the tasks it acts on; all of the schema's if None.
    """

    needs_signals: ClassVar[bool] = True

    def __init__(
        self, weight: float | Schedule = 1.0, rows: str | Sequence[str] = "scored", tasks: Sequence[str] | None = None
    ) -> None:
        super().__init__(weight, rows, tasks)

    def forward(self, inputs: LossInputs) -> TermSums:
        """Computes the sums, one unit a task."""
        values = prob_mse(self.student_logits(inputs), self.teacher_logits(inputs))
        return self.row_sums(values, self.selected(inputs).unsqueeze(1), inputs.batch.weight)
