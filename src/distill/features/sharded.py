"""Embedding tables that are divided over the ranks by TorchRec: larger than one device or machine.

`sharded_tables` is how the rest of the package comes to know of them: of the weights, gradients and accumulators that
are no parameters of a model. Who builds models asks `placement.table_factory` for them.
"""

from __future__ import annotations

import gc
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from distill.errors import ConfigError
from distill.features.shards import KINDS, ShardedTable
from distill.features.tables import EmbeddingTables
from distill.schema import Schema

__all__ = ["KINDS", "ShardedTables", "sharded_tables"]


class ShardedTables(EmbeddingTables):
    """All embedding tables of a model, fused by width and divided over the ranks of the process group.

    A drop-in for `EmbeddingTables`: the same fields, offsets, initial rows (of the same seed) and names in a
    checkpoint. Every rank must look up equally often. The gradients of a step's lookups are kept until
    `apply_gradients`, which updates each touched row once, by TorchRec's fused row-wise Adagrad and the mean of the
    ranks' gradients. There are no parameters that an optimiser or DDP would see.

    Args:
        schema: Prepared schema: every id field knows its `size`.
        embedding_dim: Width of fields that do not name their own.
        init_std: Standard deviation of the initial rows.
        kind: `row_wise`, `table_wise` (a whole fused table on one rank) or `planned` (TorchRec's planner chooses).
    """

    def __init__(self, schema: Schema, embedding_dim: int, init_std: float, kind: str) -> None:
        self._kind = kind  # needed when the base class allocates
        super().__init__(schema, embedding_dim, init_std)
        if self.groups.tables:
            raise ConfigError(
                "Tables that are divided over ranks have no rows of groups.",
                where="embedding.sharding",
                expected="null, or a schema without `cold`",
                found=f"cold fields of table {', '.join(self.groups.tables)}",
                remedy="Set embedding=default, or prepare the data without `cold`.",
            )

    def _allocate(self, rows: dict[int, int], init_std: float) -> None:
        gc.collect()  # TorchRec's modules are cycles: the tables of an earlier model may still take their room
        self._tables = {
            width: ShardedTable(count, width, self._kind, index) for index, (width, count) in enumerate(rows.items())
        }
        self._pending: dict[int, list[tuple[Tensor, Tensor]]] = {width: [] for width in rows}
        for table in self._tables.values():
            table.fill_normal(init_std)

    @property
    def num_weights(self) -> int:
        """Number of weights on all ranks together."""
        return sum(table.count * table.width for table in self._tables.values())

    @property
    def widths(self) -> tuple[int, ...]:
        """Widths of the fused tables."""
        return tuple(self._tables)

    def _rows(self, width: int, ids: Tensor) -> Tensor:
        """Gathers rows from the ranks that have them."""
        flat = ids.flatten()
        distinct, inverse = torch.unique(flat, return_inverse=True)
        found = self._tables[width].lookup(distinct)
        if torch.is_grad_enabled():
            found = found.requires_grad_()
            found = _Kept.apply(found, distinct, self._pending[width])  # type: ignore[no-untyped-call]
        return found.index_select(0, inverse).view(*ids.shape, width)

    def _mean(self, width: int, ids: Tensor, lengths: Tensor) -> Tensor:
        rows = self._rows(width, ids)
        owner = torch.arange(lengths.shape[0], device=ids.device).repeat_interleave(lengths, output_size=ids.shape[0])
        total = rows.new_zeros((lengths.shape[0], width)).index_add(0, owner, rows)
        return total / lengths.clamp(min=1).unsqueeze(1)

    def apply_gradients(self, lr: float, eps: float) -> None:
        """Updates the rows touched since the last call; all ranks call it together.

        Args:
            lr: Learning rate.
            eps: Added to the denominator; TorchRec fixes it when the tables are made.
        """
        for width, table in self._tables.items():
            kept = self._pending[width]
            ids = torch.cat([ids for ids, _ in kept]) if kept else torch.empty(0, dtype=torch.long, device=table.device)
            gradients = torch.cat([gradient for _, gradient in kept]) if kept else torch.empty(0, width)
            distinct, inverse = torch.unique(ids, return_inverse=True)
            summed = torch.zeros((distinct.shape[0], width), device=table.device)
            summed.index_add_(0, inverse, gradients.to(summed))
            table.update(distinct, summed, lr, eps)
        self.forget_gradients()

    def pending_gradients(self) -> list[tuple[int, int, Tensor]]:
        """Returns the gradients of lookups since the last update: width, number of the lookup, rows `[n, width]`."""
        return [(width, n, rows) for width, kept in self._pending.items() for n, (_, rows) in enumerate(kept)]

    def forget_gradients(self) -> None:
        """Drops the gradients of lookups since the last update."""
        for kept in self._pending.values():
            kept.clear()

    def accumulators(self) -> list[Tensor]:
        """Returns the accumulators `[V]` of the fused tables: whole on rank 0, empty elsewhere; a collective."""
        return [table.gather_accumulator() for table in self._tables.values()]

    def load_accumulators(self, whole: Mapping[int, Tensor]) -> None:
        """Copies this rank's part of the accumulators, by position of the table."""
        for index, table in enumerate(self._tables.values()):
            table.load_accumulator(whole[index])

    def _save_to_state_dict(self, destination: dict[str, Any], prefix: str, keep_vars: bool) -> None:
        for width, table in self._tables.items():
            destination[f"{prefix}weights.{width}"] = table.gather_weight()

    def _load_from_state_dict(
        self,
        state_dict: Mapping[str, Any],
        prefix: str,
        local_metadata: Mapping[str, Any],
        strict: bool,
        missing_keys: list[str],
        unexpected_keys: list[str],
        error_msgs: list[str],
    ) -> None:
        for width, table in self._tables.items():
            key = f"{prefix}weights.{width}"
            whole = state_dict.get(key)
            if whole is None:
                missing_keys.append(key)
            elif tuple(whole.shape) != (table.count, width):
                error_msgs.append(f"{key}: expected {(table.count, width)}, found {tuple(whole.shape)}")
            else:
                table.load_weight(whole)


def sharded_tables(module: nn.Module) -> dict[str, ShardedTables]:
    """Returns the tables of a module that are divided over the ranks, by their names in it; none in most runs."""
    return {name: part for name, part in module.named_modules() if isinstance(part, ShardedTables)}


class _Kept(Function):
    """Passes rows on and keeps their gradient in a list instead of sending it further back."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, ids: Tensor, kept: list[tuple[Tensor, Tensor]]) -> Tensor:
        ctx.kept = kept
        ctx.save_for_backward(ids)
        return rows.view_as(rows)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, None, None]:
        (ids,) = ctx.saved_tensors
        ctx.kept.append((ids, gradient.float()))
        return None, None, None
