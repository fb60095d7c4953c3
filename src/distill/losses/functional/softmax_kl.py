"""Kullback-Leibler divergence between the teacher's and the student's softmax over each request's candidates."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


class _SoftmaxKL(torch.autograd.Function):
    """The divergence with its gradient written out: few kernels, one node of the graph."""

    @staticmethod
    def forward(
        ctx: Any, student: Tensor, teacher: Tensor, index: Tensor, counts: Tensor, temperature: float
    ) -> Tensor:
        log_q, exp_q, sum_q = _exponentials(student / temperature, index, counts)
        log_p, exp_p, sum_p = _exponentials(teacher / temperature, index, counts)
        p = exp_p.div_(sum_p.index_select(0, index))
        q = exp_q.div_(sum_q.index_select(0, index))
        log_ratio = log_p.sub_(log_q).sub_((sum_p.log() - sum_q.log()).index_select(0, index))
        ctx.save_for_backward(q.sub_(p), index)
        ctx.temperature = temperature
        return torch.segment_reduce(log_ratio.mul_(p), "sum", lengths=counts, unsafe=True).mul_(temperature**2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None, None, None, None]:
        difference, index = ctx.saved_tensors
        by_request = grad_outputs[0] * ctx.temperature
        return by_request.index_select(0, index).mul_(difference), None, None, None, None


def _exponentials(logits: Tensor, index: Tensor, counts: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Returns the logits minus their segment's maximum, the exponentials of that, and their sums by segment."""
    peak = torch.segment_reduce(logits, "max", lengths=counts, unsafe=True)
    shifted = logits - peak.index_select(0, index)
    exponentials = shifted.exp()
    return shifted, exponentials, torch.segment_reduce(exponentials, "sum", lengths=counts, unsafe=True)


def softmax_kl(student: Tensor, teacher: Tensor, index: Tensor, counts: Tensor, temperature: float = 1.0) -> Tensor:
    """Computes the divergence of the student's from the teacher's distribution over the candidates of each request.

    ``T² · Σ_i p_i (log p_i - log q_i)`` with ``p = softmax_r(t/T)`` and ``q = softmax_r(s/T)`` over request r's rows.
    Exactly 0 where s = t and unchanged when a request's logits all shift by the same number.
    Reduction: sum within the request, none over requests. Gradient path: to `student` only, ``T · (q - p)``, which
    cannot be differentiated again; none to `teacher`. Temperature scaling: T² keeps the gradient's size as T grows.

    Args:
        student: Student logits `[N]`, or `[N, K]` for K tasks, each with distributions of its own.
        teacher: Teacher logits, the shape of `student`.
        index: Request of each row `[N]`, sorted. To leave rows out, pass the other rows only.
        counts: Rows of each request `[R]` int64, which may be 0; their sum is N.
        temperature: T > 0.

    Returns:
        `[R]` or `[R, K]`; 0 for requests with fewer than two rows.

    Reference:
        Hinton, Vinyals, Dean, "Distilling the Knowledge in a Neural Network", 2015, arXiv 1503.02531, section 2, with
        the candidates of a request in place of the classes.

    >>> index, counts = torch.tensor([0, 0, 0]), torch.tensor([3])
    >>> softmax_kl(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([11.0, 12.0, 13.0]), index, counts)
    tensor([0.])
    """
    divergence: Tensor = _SoftmaxKL.apply(  # type: ignore[no-untyped-call]
        student, teacher.detach(), index, counts, temperature
    )
    return divergence
