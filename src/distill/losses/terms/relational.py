"""Distances between the hidden vectors of a request's candidates, as a loss term."""

from __future__ import annotations

from typing import ClassVar

import torch

from distill.losses.functional.relational import relational
from distill.losses.terms.base import LossInputs, TermSums
from distill.losses.terms.hidden import HiddenTerm
from distill.losses.terms.lists import plan_of
from distill.ops.segment import segment_count, segment_sum


class Relational(HiddenTerm):
    """The distances between the hidden vectors of a request's candidates, each side's divided by their mean.

    ``huber(d_ij(h_s)/μ_s - d_ij(h_t)/μ_t)``, the mean over the pairs of a request: candidates that are alike for the
    teacher shall be alike for the student; widths and scales may differ and nothing is learned beside the student.
    Reduction: mean over the pairs of a request, weighted mean over requests. Gradient path: to the student's hidden
    vector.

    The arguments are those of `HiddenTerm`.

    Reference: Park et al., "Relational Knowledge Distillation", CVPR 2019, arXiv 1904.05068 (distance-wise).
    """

    over_pairs: ClassVar[bool] = True

    def forward(self, inputs: LossInputs) -> TermSums:
        """Computes the sums, one unit."""
        taken, student, teacher = self.vectors(inputs)
        num_requests = inputs.batch.num_requests
        index = taken.keep(inputs.batch.request_index.index_select(0, taken.rows), num_requests)
        counts = segment_count(index, num_requests if taken.real is None else num_requests + 1)
        sums, number = relational(student, teacher, index, counts, plan_of(inputs.batch, num_requests))
        row_weight = inputs.batch.weight.index_select(0, taken.rows).to(sums.dtype)
        weight = segment_sum(row_weight, index, counts.shape[0]) / counts.clamp(min=1) * (number > 0)
        one = torch.ones(1, dtype=sums.dtype, device=sums.device)
        return TermSums((sums / number.clamp(min=1) * weight).sum().view(1), weight.sum().view(1), one)
