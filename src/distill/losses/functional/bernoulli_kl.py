"""Kullback-Leibler divergence between the teacher's and the student's probability of each task."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


class _BernoulliKL(torch.autograd.Function):
    """T²·KL(σ(t/T) ‖ σ(s/T)) and its gradient ``T·(σ(s/T) - σ(t/T))`` written out: agreement is exactly 0 in both.

    Both logits change sign together (which swaps the classes and leaves the divergence as it is) where the teacher's is
    positive: small probabilities keep their relative precision, ones near 1 would lose it.
    """

    @staticmethod
    def forward(ctx: Any, student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
        ctx.save_for_backward(student, teacher)
        ctx.temperature = temperature
        a, b, _ = _oriented(student, teacher, temperature)
        divergence = F.logsigmoid(-a) - F.logsigmoid(-b) - a.sigmoid() * (b - a)
        return divergence.clamp_(min=0.0).mul_(temperature**2)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None, None]:
        student, teacher = ctx.saved_tensors
        a, b, sign = _oriented(student, teacher, ctx.temperature)
        return grad_outputs[0] * (b.sigmoid() - a.sigmoid()) * (sign * ctx.temperature), None, None


def _oriented(student: Tensor, teacher: Tensor, temperature: float) -> tuple[Tensor, Tensor, Tensor]:
    """Returns the teacher's and the student's logits divided by T, the teacher's made negative, and the sign for it."""
    sign = -torch.ones_like(teacher).copysign_(teacher)
    return -teacher.abs() / temperature, sign * student / temperature, sign


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

    >>> bernoulli_kl(torch.tensor([2.0, -1.0]), torch.tensor([2.0, -1.0]))
    tensor([0., 0.])
    """
    divergence: Tensor = _BernoulliKL.apply(student, teacher.detach(), temperature)  # type: ignore[no-untyped-call]
    return divergence
