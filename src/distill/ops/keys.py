"""Numbers for rows that have a key, and for those that have none."""

from __future__ import annotations

import torch
from torch import Tensor


def apart(keys: Tensor, missing: Tensor, instead: Tensor) -> Tensor:
    """Gives rows without a key groups of their own.

    Args:
        keys: `[N]` int64, any.
        missing: Which rows have none `[N]` bool.
        instead: What tells rows without a key apart `[N]` int64, any.

    Returns:
        `[N]` int64: two rows have the same number if both have a key and it is the same, or if neither has one and
        `instead` is the same.
    """
    if not bool(missing.any()):
        return keys
    known, number = torch.unique(keys, return_inverse=True)
    other = torch.unique(instead, return_inverse=True)[1]
    return torch.where(missing, known.numel() + other, number)
