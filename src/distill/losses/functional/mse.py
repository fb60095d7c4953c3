"""Squared differences between the teacher's and the student's predictions."""

from __future__ import annotations

from torch import Tensor


def logit_mse(student: Tensor, teacher: Tensor) -> Tensor:
    """Computes the squared difference of logits, element by element.

    ``(s - t)²``. Reduction: none. Gradient path: to `student` only. Temperature scaling: none.

    Args:
        student: Student logits, any shape.
        teacher: Teacher logits, the shape of `student`.

    Returns:
        The shape of `student`.

    Reference:
        Ba, Caruana, "Do Deep Nets Really Need to be Deep?", 2014, arXiv 1312.6184 (without its factor ½).

    >>> logit_mse(torch.tensor([1.0, 2.0]), torch.tensor([1.0, 4.0]))
    tensor([0., 4.])
    """
    return (student - teacher.detach()).square()


def prob_mse(student: Tensor, teacher: Tensor) -> Tensor:
    """Computes the squared difference of probabilities, element by element.

    ``(σ(s) - σ(t))²``. Reduction: none. Gradient path: to `student` only; it vanishes where the student is saturated,
    even if it is wrong. Temperature scaling: none.

    Args:
        student: Student logits, any shape.
        teacher: Teacher logits, the shape of `student`.

    Returns:
        The shape of `student`; at most 1.
    """
    return (student.sigmoid() - teacher.detach().sigmoid()).square()
