"""Divergence between the teacher's and the student's probability of each task, as a loss term."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from distill.losses.functional.bernoulli_kl import bernoulli_kl
from distill.losses.schedule import Schedule, temperature_schedule
from distill.losses.terms.base import LossInputs, LossTerm, TermSums


class BernoulliKL(LossTerm):
    """The divergence of the student's from the teacher's probability, task by task and row by row.

    ``Σ_k λ_k · Σ_i w_i T² KL(σ(t_ik/T) ‖ σ(s_ik/T)) / Σ_i w_i`` over selected rows that the teacher scored, with task
    weights λ and row weights w. Reduction: weighted mean over rows, weighted sum over tasks. Gradient path: to the
    student's logits only. Temperature scaling: T², so that the gradient keeps its size.

    Args:
        weight: Weight of the term in the total, a number or a schedule.
        rows: Row selector or several for their union.
        tasks: Names of the tasks it acts on; all of the schema's if None.
        temperature: T > 0, a number or a schedule.
    """

    needs_signals: ClassVar[bool] = True

    def __init__(
        self,
        weight: float | Schedule = 1.0,
        rows: str | Sequence[str] = "scored",
        tasks: Sequence[str] | None = None,
        temperature: float | Schedule = 1.0,
    ) -> None:
        super().__init__(weight, rows, tasks)
        self.temperature = temperature_schedule(temperature, where="BernoulliKL.temperature")

    def forward(self, inputs: LossInputs) -> TermSums:
        """Computes the sums, one unit a task."""
        temperature = self.temperature.value(inputs.step)
        values = bernoulli_kl(self.student_logits(inputs), self.teacher_logits(inputs), temperature)
        return self.row_sums(values, self.selected(inputs).unsqueeze(1), inputs.batch.weight)
