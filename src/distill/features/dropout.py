"""Dropout of embedded ids, in training alone: of the ids themselves, and of the values of their rows."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from distill.schema import NUM_RESERVED, OOV_ID


class IdDropout(nn.Module):
    """Replaces each id, with probability p, by the unknown value of its table (id 1).

    So the row of unknown values learns to stand for any of the others, though training knows all its values; and a
    model learns to do without a single id. Missing values (id 0) stay what they are. Each lookup of an id is drawn for
    itself; what is looked up once for several candidates, such as the fields of a request, is dropped for all of them.

    Args:
        p: Probability.
        starts: Width of fused tables, and the first row of a table in the one of this width; in any order.
    """

    def __init__(self, p: float, starts: Iterable[tuple[int, int]]) -> None:
        super().__init__()
        self.draw = nn.Dropout(p)
        by_width: dict[int, list[int]] = {}
        for width, first in starts:
            by_width.setdefault(width, []).append(first)
        for width, firsts in by_width.items():
            self.register_buffer(f"_starts_{width}", torch.tensor(sorted(firsts)), persistent=False)

    def forward(self, width: int, ids: Tensor) -> Tensor:
        """Returns rows of the fused table of a width, offsets added: some of `ids […]`, and unknown ones."""
        if not self.training:
            return ids
        kept = self.draw(torch.ones(ids.shape, device=ids.device))
        starts = self.get_buffer(f"_starts_{width}")
        first = starts.take(torch.searchsorted(starts, ids.contiguous(), right=True) - 1)
        dropped = (kept == 0) & (ids - first >= NUM_RESERVED)
        return torch.where(dropped, first + OOV_ID, ids)
