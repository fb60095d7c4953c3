"""Ids of any size as numbers from 0, which arrays can be indexed by."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

_SPARSE = 4


@dataclass(frozen=True)
class Numbered:
    """N ids, G of them distinct.

    Attributes:
        number: `[N]` int64 in `0..G-1`, in the order of the ids.
        ids: `[G]`, ascending.
    """

    number: Tensor
    ids: Tensor

    @property
    def count(self) -> int:
        """G."""
        return self.ids.numel()


def numbered(ids: Tensor) -> Numbered:
    """Numbers ids `[N]` int64, without a sort where they lie close together."""
    if ids.numel() and (lowest := int(ids.min())) + _SPARSE * ids.numel() > (highest := int(ids.max())):
        return _close_together(ids, lowest, highest)
    runs, run = torch.unique_consecutive(ids, return_inverse=True)  # rows of a user often come together
    distinct, number = torch.unique(runs, return_inverse=True)
    return Numbered(number.index_select(0, run), distinct)


def _close_together(ids: Tensor, lowest: int, highest: int) -> Numbered:
    offset = ids - lowest
    occurs = torch.zeros(highest - lowest + 1, dtype=torch.bool, device=ids.device)
    occurs.index_fill_(0, offset, True)
    number = occurs.cumsum(0).sub_(1)
    return Numbered(number.index_select(0, offset), occurs.nonzero()[:, 0] + lowest)
