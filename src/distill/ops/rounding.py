"""Numbers that are stored in bfloat16 and computed with in float32."""

from __future__ import annotations

import torch
from torch import Tensor

_KEPT_BITS = -0x10000  # of a float32, those that a bfloat16 has


def computed_type(stored: torch.dtype) -> torch.dtype:
    """Returns the type in which numbers of a type are computed with: float32 of bfloat16, else their own."""
    return torch.float32 if stored is torch.bfloat16 else stored


def stochastically_rounded(values: Tensor, bits: Tensor) -> Tensor:
    """Rounds to bfloat16, up or down at random, so that the expectation is the value.

    A float32 is a bfloat16 with 16 bits behind it; a uniform number is added to these, and what is left of them is cut
    off. So a value that lies a share p of the way to the next bfloat16 becomes that with probability p, exactly, and a
    bfloat16 stays what it is. So do infinite values and NaN. A value beyond the greatest finite one may become
    infinite, as when it is rounded to the nearest.

    Args:
        values: Any shape, float32.
        bits: Of the same shape, int32 in 0..65535, uniform.

    Reference: Zamirai et al., "Revisiting BFloat16 Training", 2020, arXiv:2010.06192.
    """
    pattern = values.contiguous().view(torch.int32)
    cut = ((pattern + bits) & _KEPT_BITS).view(torch.float32)
    return torch.where(values.isfinite(), cut, values).to(torch.bfloat16)
