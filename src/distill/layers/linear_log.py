"""The input transform of COLD, which keeps large numbers within half precision."""

from __future__ import annotations

import torch
from torch import Tensor


def linear_log(x: Tensor) -> Tensor:
    """Returns −log(−x) − 1 below −1, x up to 1 and log(x) + 1 above, elementwise.

    The function and its derivative are continuous.

    Reference: Wang et al., "COLD: Towards the Next Generation of Pre-Ranking System", 2020, arXiv:2007.16122,
    section 3.3.

    >>> linear_log(torch.tensor([-1.0, 0.5, 1.0]))
    tensor([-1.0000,  0.5000,  1.0000])
    """
    size = x.abs()
    # The clamp keeps the logarithm, and its gradient, finite where it is not taken.
    return torch.where(size <= 1, x, x.sign() * (size.clamp(min=1).log() + 1))
