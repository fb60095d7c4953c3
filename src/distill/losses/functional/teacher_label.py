"""A teacher's probability as a label: scaled and clipped."""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor


def teacher_label(teacher: Tensor, scale: float, clip: tuple[float, float] | None) -> Tensor:
    """Computes the logit of ``clip(scale · σ(t), low, high)``, element by element.

    In logarithms of probabilities, so that small ones are not rounded to 0. A scale of 1 without a clip returns
    `teacher` itself.

    Args:
        teacher: Teacher logits, any shape.
        scale: α > 0; at most 1 without a clip.
        clip: low and high, 0 ≤ low < high < 1; none if None.

    Returns:
        Logits of the shape of `teacher`.

    Reference:
        Liang et al., "External Large Foundation Model: How to Efficiently Serve Trillions of Parameters for Online Ads
        Recommendation" (ExFM), 2025, arXiv 2502.17494: label scaling and clipping of the auxiliary head.
    """
    if scale == 1.0 and clip is None:
        return teacher
    log_p = F.logsigmoid(teacher) + math.log(scale)
    if clip is not None:
        low, high = clip
        log_p = log_p.clamp(min=math.log(low) if low > 0 else None, max=math.log(high))
    return log_p - (-log_p.expm1()).log()
