"""Rows that are computed some at a time, where all at once would take too much memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

CHUNK_ELEMENTS = 1 << 21
"""Most intermediate numbers of a chunk."""


def by_rows(function: Callable[..., Tensor], rows: Sequence[Tensor], elements: int) -> Tensor:
    """Computes a function of rows, row by row independent, in chunks that the backward pass computes again.

    Args:
        function: Of the tensors of `rows`, cut alike, to a value per row `[b]`; it draws nothing at random. What else
            it depends on gets its gradient too.
        rows: Tensors `[N, …]`.
        elements: Intermediate numbers of a row, by which the chunks are cut; one chunk is not computed twice.

    Returns:
        `[N]`.
    """
    count, size = rows[0].shape[0], max(1, CHUNK_ELEMENTS // max(1, elements))
    if count <= size:
        return function(*rows)
    parts = [
        checkpoint(function, *(row[at : at + size] for row in rows), use_reentrant=False, preserve_rng_state=False)
        for at in range(0, count, size)
    ]
    return torch.cat(parts)
