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


def first_equal(keys: Tensor, alone: Tensor) -> Tensor:
    """Returns the first row that has the key of each row `[N]` int64, and for some rows themselves; nothing waits.

    Args:
        keys: `[N]` int64, any.
        alone: Which rows count as if no other had their key `[N]` bool.
    """
    own = torch.arange(keys.shape[0], device=keys.device)
    ordered, order = keys.sort(stable=True)
    begins = torch.ones_like(alone)
    begins[1:] = ordered[1:] != ordered[:-1]
    start = torch.where(begins, own, 0).cummax(0).values if keys.shape[0] else own
    first = torch.empty_like(own).index_copy_(0, order, order.index_select(0, start))
    return torch.where(alone, own, first)
