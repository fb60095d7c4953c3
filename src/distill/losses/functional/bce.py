"""Binary cross-entropy against observed labels."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def bce_with_logits(logits: Tensor, labels: Tensor) -> Tensor:
    """Computes the binary cross-entropy of each label.

    ``-y log σ(s) - (1 - y) log(1 - σ(s))``, from logits, so that it stays finite for any finite logit.
    Reduction: none. Gradient path: to `logits` only, ``σ(s) - y``. Temperature scaling: none.

    Args:
        logits: Student logits, any shape.
        labels: Labels in [0, 1], the shape of `logits`.

    Returns:
        The shape of `logits`.
    """
    return F.binary_cross_entropy_with_logits(logits, labels.detach(), reduction="none")
