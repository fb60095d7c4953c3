"""Kullback-Leibler divergence between the teacher's and the student's probability of each task."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


class _BernoulliKL(torch.autograd.Function):
    """KL(σ(a) ‖ σ(b)) with its gradient ``σ(b) - σ(a)`` written out, so that agreement gives exactly 0 for both.

    Both logits change sign together (which swaps the classes and leaves the divergence as it is) where the teacher's is
    positive: small probabilities keep their relative precision, ones near 1 would lose it.
    """

    @staticmethod
    def forward(ctx: Any, student: Tensor, teacher: Tensor) -> Tensor:
        ctx.save_for_backward(student, teacher)
        a, b = -teacher.abs(), torch.where(teacher > 0, -student, student)
        divergence = F.logsigmoid(-a) - F.logsigmoid(-b) - a.sigmoid() * (b - a)
        return divergence.clamp(min=0.0)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None]:
        student, teacher = ctx.saved_tensors
        a, b = -teacher.abs(), torch.where(teacher > 0, -student, student)
        gradient = b.sigmoid() - a.sigmoid()
        return grad_outputs[0] * torch.where(teacher > 0, -gradient, gradient), None


def bernoulli_kl(student: Tensor, teacher: Tensor, temperature: float = 1.0) -> Tensor:
    """Computes the divergence of the student's probability from the teacher's, element by element.

    ``T² · KL(σ(t/T) ‖ σ(s/T))``. Exactly 0, with a gradient of exactly 0, where s = t; finite for any finite logit.
    Reduction: none. Gradient path: to `student` only, ``T · (σ(s/T) - σ(t/T))``; none to `teacher`. Temperature
    scaling: T² keeps the gradient's size: for small logits it is about ``(s - t) / 4`` whatever T is.

    Args:
        student: Student logits, any shape.
        teacher: Teacher logits, the shape of `student`.
        temperature: T > 0.

    Returns:
        The shape of `student`; never negative.

    Reference:
        Hinton, Vinyals, Dean, "Distilling the Knowledge in a Neural Network", 2015, arXiv 1503.02531, section 2, with
        one Bernoulli variable per task in place of the softmax over classes.
    """
    a, b = teacher.detach() / temperature, student / temperature
    divergence: Tensor = _BernoulliKL.apply(b, a)  # type: ignore[no-untyped-call]
    return temperature**2 * divergence
