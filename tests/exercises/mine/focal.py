"""A loss on what terms have already: labels and the student's logits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from distill.losses import LossInputs, Schedule, TermSums
from distill.losses.functional import bce_with_logits
from distill.losses.terms.labelled import LabelledTerm


class Focal(LabelledTerm):
    """``(1 - p_y)^γ · BCE``: rows that are right already count for less (arXiv:1708.02002, without α)."""

    takes: ClassVar[tuple[str, ...]] = ("binary",)

    def __init__(
        self,
        weight: float | Schedule = 1.0,
        rows: str | Sequence[str] = "all",
        tasks: Sequence[str] | None = None,
        gamma: float = 2.0,
    ) -> None:
        super().__init__(weight, rows, tasks)
        self.gamma = gamma

    def forward(self, inputs: LossInputs) -> TermSums:
        """Computes the sums, one unit a task."""
        values = bce_with_logits(self.student_logits(inputs), self.label_values(inputs))
        wrong = -(-values).expm1()  # 1 - p_y
        return self.row_sums(wrong**self.gamma * values, self.observed(inputs), inputs.batch.weight)
