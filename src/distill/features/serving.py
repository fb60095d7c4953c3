"""Drops privileged fields from a batch before a student sees it."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from distill.batch import Batch, FeatureBlock
from distill.schema import FieldSpec, Kind, Schema, Side


class _SideProjection(nn.Module):
    def __init__(self, fields: tuple[FieldSpec, ...]) -> None:
        super().__init__()
        self._kept = frozenset(f.name for f in fields if not f.privileged)
        self.is_identity = len(self._kept) == len(fields)
        self.register_buffer("_ids", _kept_columns([f for f in fields if f.is_id]), persistent=False)
        self.register_buffer("_numbers", _kept_columns([f for f in fields if f.is_number]), persistent=False)
        self._vectors = [f.name for f in fields if f.kind is Kind.VECTOR and not f.privileged]
        self._sequences = [f.name for f in fields if f.kind is Kind.SEQUENCE and not f.privileged]

    def forward(self, block: FeatureBlock) -> FeatureBlock:
        if self.is_identity:
            return block
        return FeatureBlock(
            ids=block.ids.index_select(1, self.get_buffer("_ids")),
            numbers=block.numbers.index_select(1, self.get_buffer("_numbers")),
            vectors={name: block.vectors[name] for name in self._vectors},
            sequences={name: block.sequences[name] for name in self._sequences},
        )


class ServingProjection(nn.Module):
    """Turns a batch read with the full schema into what the same batch read with `serving_view()` would be.

    Args:
        schema: The full schema that batches are read with.
    """

    def __init__(self, schema: Schema) -> None:
        super().__init__()
        self.request = _SideProjection(schema.side(Side.REQUEST))
        self.candidate = _SideProjection(schema.side(Side.CANDIDATE))
        self.cross = _SideProjection(schema.side(Side.CROSS))

    def forward(self, batch: Batch) -> Batch:
        """Returns the batch without privileged fields (other tensors are shared)."""
        return replace(
            batch,
            request=self.request(batch.request),
            candidate=self.candidate(batch.candidate),
            cross=self.cross(batch.cross),
        )


def _kept_columns(fields: list[FieldSpec]) -> Tensor:
    return torch.tensor([i for i, f in enumerate(fields) if not f.privileged], dtype=torch.long)
