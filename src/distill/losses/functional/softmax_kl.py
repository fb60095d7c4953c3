"""Kullback-Leibler divergence between the teacher's and the student's softmax over each request's candidates."""

from __future__ import annotations

from torch import Tensor

from distill.ops.segment import segment_log_softmax, segment_sum


def softmax_kl(student: Tensor, teacher: Tensor, index: Tensor, num_segments: int, temperature: float = 1.0) -> Tensor:
    """Computes the divergence of the student's from the teacher's distribution over the candidates of each request.

    ``T² · Σ_i p_i (log p_i - log q_i)`` with ``p = softmax_r(t/T)`` and ``q = softmax_r(s/T)`` over request r's rows.
    Exactly 0 where s = t and unchanged when a request's logits all shift by the same number.
    Reduction: sum within the request, none over requests. Gradient path: to `student` only, ``T · (q - p)``; none to
    `teacher`. Temperature scaling: T² keeps the gradient's size as T grows.

    Args:
        student: Student logits `[N]`.
        teacher: Teacher logits `[N]`.
        index: Request of each row `[N]`, sorted. To leave rows out, pass the other rows only.
        num_segments: R.
        temperature: T > 0.

    Returns:
        `[R]`; 0 for requests with fewer than two rows.

    Reference:
        Hinton, Vinyals, Dean, "Distilling the Knowledge in a Neural Network", 2015, arXiv 1503.02531, section 2, with
        the candidates of a request in place of the classes.
    """
    log_p = segment_log_softmax(teacher.detach() / temperature, index, num_segments)
    log_q = segment_log_softmax(student / temperature, index, num_segments)
    return temperature**2 * segment_sum(log_p.exp() * (log_p - log_q), index, num_segments)
