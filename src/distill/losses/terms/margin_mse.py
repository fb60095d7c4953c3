"""Squared difference of the student's and the teacher's score differences, as a loss term."""

from __future__ import annotations

from typing import ClassVar

from distill.losses.functional.pairwise import margin_mse
from distill.losses.terms.base import LossInputs, TermSums
from distill.losses.terms.lists import list_sums, lists_of
from distill.losses.terms.soft import SoftTerm


class MarginMSE(SoftTerm):
    """The squared difference of margins: ``((s_i - s_j) - (t_i - t_j))²``, the mean over all pairs of a request.

    It does not see a shift of a request's logits. Reduction: mean over the pairs of a request, weighted mean over
    requests with at least two rows, weighted sum over tasks. Gradient path: to the student's logits only. Temperature
    scaling: none. It costs as much as a mean: pairs are not listed.

    The arguments are those of `SoftTerm`.

    Reference: Hofstätter et al., "Improving Efficient Neural Ranking Models with Cross-Architecture Knowledge
    Distillation", 2020, arXiv 2010.02666.
    """

    compares: ClassVar[bool] = True

    def forward(self, inputs: LossInputs) -> TermSums:
        """Computes the sums, one unit a task."""
        lists = lists_of(self, inputs, self.selected(inputs).unsqueeze(1))
        teacher = lists.of(self.teacher_logits(inputs))
        return list_sums(self, lists, margin_mse(lists.student, teacher, lists.index, lists.counts))
