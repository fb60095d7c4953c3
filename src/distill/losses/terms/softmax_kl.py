"""Divergence between the teacher's and the student's softmax over each request's candidates, as a loss term."""

from __future__ import annotations

from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor

from distill.losses.functional.softmax_kl import softmax_kl
from distill.losses.terms.base import LossInputs, TermSums
from distill.losses.terms.soft import SoftTerm, TemperedTerm
from distill.ops.segment import segment_count, segment_sum
from distill.ops.waiting import places


class SoftmaxKL(TemperedTerm):
    """The divergence of the student's from the teacher's distribution over a request's candidates, task by task.

    ``Σ_k λ_k · Σ_r w_r T² KL(softmax_r(t_k/T) ‖ softmax_r(s_k/T)) / Σ_r w_r`` over requests with at least two selected
    rows that the teacher scored; the softmax runs over these rows, ``w_r`` is their mean row weight and λ the task
    weights. Reduction: sum over the candidates of a request, weighted mean over requests, weighted sum over tasks.
    Gradient path: to the student's logits only. Temperature scaling: T², so that the gradient keeps its size.
    It orders candidates and does not see a shift of a request's logits: calibration needs another term beside it.

    The arguments are those of `TemperedTerm`.
    """

    compares: ClassVar[bool] = True

    def forward(self, inputs: LossInputs) -> TermSums:
        """Computes the sums, one unit a task."""
        student, teacher = self.student_logits(inputs), self.teacher_logits(inputs)
        return _sums(self, inputs, student, teacher, self.temperature.value(inputs.step))


class CLID(SoftTerm):
    """The divergence of the shares that candidates have in the clicks that a request is expected to get, task by task.

    ``Σ_i q_i (log q_i - log p_i)`` with ``q = σ(t) / Σ_j σ(t_j)`` of the teacher and ``p`` likewise of the student.
    Where all probabilities agree it is least, so it orders candidates and does not pull the student's probabilities
    away from those of a calibrated teacher, as a softmax of logits can; it does not see a common factor of them either:
    keep a pointwise term beside it. Reduction: sum over the candidates of a request, weighted mean over requests with
    at least two selected rows, weighted sum over tasks. Gradient path: to the student's logits only.

    The arguments are those of `SoftTerm`.

    Reference: Gui et al., "Calibration-compatible Listwise Distillation of Privileged Features for CTR Prediction"
    (CLID), WSDM 2024, arXiv 2312.08727; without the teacher's entropy, which has no gradient.
    """

    compares: ClassVar[bool] = True

    needs_probabilities = True

    def forward(self, inputs: LossInputs) -> TermSums:
        """Computes the sums, one unit a task."""
        student, teacher = F.logsigmoid(self.student_logits(inputs)), F.logsigmoid(self.teacher_logits(inputs))
        return _sums(self, inputs, student, teacher, 1.0)  # the softmax of log σ is a share of probabilities


def _sums(term: SoftTerm, inputs: LossInputs, student: Tensor, teacher: Tensor, temperature: float) -> TermSums:
    """Averages the divergence of two softmaxes of scores `[N, K']` over the requests of a term's rows."""
    batch, num_requests = inputs.batch, inputs.batch.num_requests
    index, weight = batch.request_index, batch.weight
    kept = places(term.selected(inputs))
    if kept.real is not None or kept.index.shape[0] < batch.num_candidates:
        parts = (student, teacher, index, weight)
        student, teacher, index, weight = (part.index_select(0, kept.rows) for part in parts)
    num_lists = num_requests if kept.real is None else num_requests + 1  # what is not selected is one more
    index = kept.keep(index, num_requests)
    counts = segment_count(index, num_lists)
    values = softmax_kl(student, teacher, index, counts, temperature)
    mean_weight = segment_sum(weight.to(student.dtype), index, num_lists) / counts.clamp(min=1)
    values, counts, mean_weight = (of_list[:num_requests] for of_list in (values, counts, mean_weight))
    return term.row_sums(values, (counts >= 2).unsqueeze(1), mean_weight)
