"""Divergence between the teacher's and the student's probability of each task, as a loss term."""

from __future__ import annotations

from distill.losses.functional.bernoulli_kl import bernoulli_kl
from distill.losses.terms.base import LossInputs, TermSums
from distill.losses.terms.probability import TemperedProbabilityTerm


class BernoulliKL(TemperedProbabilityTerm):
    """The divergence of the student's from the teacher's probability, task by task and row by row.

    ``Σ_k λ_k · Σ_i w_i T² KL(σ(t_ik/T) ‖ σ(s_ik/T)) / Σ_i w_i`` over selected rows that the teacher scored, with task
    weights λ and row weights w. Reduction: weighted mean over rows, weighted sum over tasks. Gradient path: to the
    student's logits only. Temperature scaling: T², so that the gradient keeps its size.

    The arguments are those of `TemperedProbabilityTerm`.
    """

    def forward(self, inputs: LossInputs) -> TermSums:
        """Computes the sums, one unit a task."""
        temperature = self.temperature.value(inputs.step)
        values = bernoulli_kl(self.student_logits(inputs), self.teacher_logits(inputs), temperature)
        return self.row_sums(values, self.selected(inputs).unsqueeze(1), inputs.batch.weight)
