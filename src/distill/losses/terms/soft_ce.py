"""Cross-entropy against the teacher's probability of each task, as a loss term."""

from __future__ import annotations

from distill.losses.functional.soft_ce import soft_ce
from distill.losses.terms.base import LossInputs, TermSums
from distill.losses.terms.probability import TemperedProbabilityTerm


class SoftCE(TemperedProbabilityTerm):
    """The cross-entropy of the student's probability under the teacher's: `BernoulliKL` and the teacher's entropy.

    ``Σ_k λ_k · Σ_i w_i T² CE(σ(t_ik/T), σ(s_ik/T)) / Σ_i w_i``: the gradient is that of `BernoulliKL`, the value is not
    0 at agreement. Reduction: weighted mean over rows, weighted sum over tasks. Gradient path: to the student's logits
    only. Temperature scaling: T².

    The arguments are those of `TemperedProbabilityTerm`.
    """

    def forward(self, inputs: LossInputs) -> TermSums:
        """Computes the sums, one unit a task."""
        temperature = self.temperature.value(inputs.step)
        values = soft_ce(self.student_logits(inputs), self.teacher_logits(inputs), temperature)
        return self.row_sums(values, self.selected(inputs).unsqueeze(1), inputs.batch.weight)
