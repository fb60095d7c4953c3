"""Squared error against the observed labels, as a loss term."""

from __future__ import annotations

from distill.losses.functional.mse import logit_mse
from distill.losses.terms.base import LossInputs, TermSums
from distill.losses.terms.labelled import LabelledTerm


class HardMSE(LabelledTerm):
    """The squared error of the student's logits against the labels: the pointwise loss of graded and value tasks.

    ``Σ_k λ_k · Σ_i w_i o_ik (s_ik − y_ik)² / Σ_i w_i o_ik`` with task weights λ, row weights w and ``o_ik`` = 1 where
    row i is selected and task k observed on it. Reduction: each task is averaged over its own observed rows, then tasks
    are added with their weights. Gradient path: to the student's logits. Temperature scaling: none.

    The arguments are those of `LabelledTerm`.

    Reference: Cossock and Zhang, "Subset Ranking using Regression", COLT 2006.
    """

    def forward(self, inputs: LossInputs) -> TermSums:
        """Computes the sums, one unit a task."""
        values = logit_mse(self.student_logits(inputs), self.label_values(inputs))
        return self.row_sums(values, self.observed(inputs), inputs.batch.weight)
