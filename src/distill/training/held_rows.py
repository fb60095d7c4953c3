"""Rows of embedding tables that do not learn: those of groups, and frozen ones."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from distill.features import EmbeddingTables
from distill.ops.rows import sparse_rows

Held = tuple[nn.Parameter, Tensor]
"""A fused table `[V, D]`, and which of its rows do not learn `[V]` bool."""


def held_rows(module: nn.Module) -> list[Held]:
    """Finds the rows that do not learn, each fused table once; tables without any are left out."""
    found: dict[int, Held] = {}
    for tables in (m for m in module.modules() if isinstance(m, EmbeddingTables)):
        for width, held in tables.held_rows().items():
            weight = tables.weights[str(width)]
            before = found.get(id(weight))
            found[id(weight)] = weight, held if before is None else before[1] | held
    return list(found.values())


@torch.no_grad()
def forget_gradients(held: Sequence[Held]) -> None:
    """Sets the gradients of such rows to 0: no optimiser of tables moves a row that never had another."""
    for weight, rows in held:
        grad = weight.grad
        if grad is None:
            continue
        if grad.is_sparse:
            ids = grad._indices()[0]
            values = grad._values().masked_fill(rows[ids].unsqueeze(1), 0.0)
            weight.grad = sparse_rows(ids, values, grad.shape, coalesced=grad.is_coalesced())
        else:
            weight.grad = grad.masked_fill(rows.unsqueeze(1), 0.0)
