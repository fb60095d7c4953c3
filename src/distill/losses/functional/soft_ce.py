"""Cross-entropy against the teacher's probability of each task."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def soft_ce(student: Tensor, teacher: Tensor, temperature: float = 1.0) -> Tensor:
    """Computes the cross-entropy of the student's probability under the teacher's, element by element.

    ``T² · (-p log q - (1 - p) log(1 - q))`` with ``p = σ(t/T)`` and ``q = σ(s/T)``: the divergence of `bernoulli_kl`
    plus T² times the teacher's entropy, so it has the same gradient and is not 0 at agreement. Reduction: none.
    Gradient path: to `student` only, ``T · (q - p)``. Temperature scaling: T².

    Args:
        student: Student logits, any shape.
        teacher: Teacher logits, the shape of `student`.
        temperature: T > 0.

    Returns:
        The shape of `student`.

    Reference:
        Hinton, Vinyals, Dean, "Distilling the Knowledge in a Neural Network", 2015, arXiv 1503.02531, section 2.
    """
    target = (teacher.detach() / temperature).sigmoid()
    values = F.binary_cross_entropy_with_logits(student / temperature, target, reduction="none")
    return values * temperature**2
