"""Squared differences between the teacher's and the student's predictions, as loss terms."""

from __future__ import annotations

from distill.losses.functional.mse import logit_mse, prob_mse
from distill.losses.terms.base import LossInputs, TermSums
from distill.losses.terms.probability import ProbabilityTerm


class LogitMSE(ProbabilityTerm):
    """The squared difference of the student's and the teacher's logits.

    ``Σ_k λ_k · Σ_i w_i (s_ik - t_ik)² / Σ_i w_i`` over selected rows that the teacher scored, with task weights λ and
    row weights w. Reduction: weighted mean over rows, weighted sum over tasks. Gradient path: to the student's logits
    only. Temperature scaling: none.

    The arguments are those of `ProbabilityTerm`.
    """

    def forward(self, inputs: LossInputs) -> TermSums:
        """Computes the sums, one unit a task."""
        values = logit_mse(self.student_logits(inputs), self.teacher_logits(inputs))
        return self.row_sums(values, self.selected(inputs).unsqueeze(1), inputs.batch.weight)


class ProbMSE(ProbabilityTerm):
    """The squared difference of the student's and the teacher's probabilities.

    ``Σ_k λ_k · Σ_i w_i (σ(s_ik) - σ(t_ik))² / Σ_i w_i`` over selected rows that the teacher scored, with task weights λ
    and row weights w. Reduction: weighted mean over rows, weighted sum over tasks. Gradient path: to the student's
    logits only. Temperature scaling: none.

    The arguments are those of `ProbabilityTerm`.
    """

    def forward(self, inputs: LossInputs) -> TermSums:
        """Computes the sums, one unit a task."""
        values = prob_mse(self.student_logits(inputs), self.teacher_logits(inputs))
        return self.row_sums(values, self.selected(inputs).unsqueeze(1), inputs.batch.weight)
