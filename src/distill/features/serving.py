"""Leaves fields out of a batch: those that a student must not see, or that a model does not use."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

import torch
from torch import Tensor, nn

from distill.batch import Batch, FeatureBlock
from distill.errors import ConfigError
from distill.schema import FieldSpec, Kind, Schema, Side


class _SideSelection(nn.Module):
    def __init__(self, fields: tuple[FieldSpec, ...], kept: Collection[str]) -> None:
        super().__init__()
        self.is_identity = all(f.name in kept for f in fields)
        self.register_buffer("_ids", _kept_columns([f for f in fields if f.is_id], kept), persistent=False)
        self.register_buffer("_numbers", _kept_columns([f for f in fields if f.is_number], kept), persistent=False)
        self._vectors = [f.name for f in fields if f.kind is Kind.VECTOR and f.name in kept]
        self._sequences = [f.name for f in fields if f.is_sequence and f.name in kept]

    def forward(self, block: FeatureBlock) -> FeatureBlock:
        if self.is_identity:
            return block
        return FeatureBlock(
            ids=block.ids.index_select(1, self.get_buffer("_ids")),
            numbers=block.numbers.index_select(1, self.get_buffer("_numbers")),
            vectors={name: block.vectors[name] for name in self._vectors},
            sequences={name: block.sequences[name] for name in self._sequences},
        )


def kept_fields(schema: Schema, kept: Collection[str] | None) -> Schema:
    """Returns a schema with some of its fields, in its order.

    Args:
        schema: The schema that batches are read with.
        kept: Names of the fields that a model reads; all if not given.

    Raises:
        ConfigError: A name is unknown, or none is left.
    """
    known = [f.name for f in schema.fields]
    fields = schema.fields if kept is None else tuple(f for f in schema.fields if f.name in kept)
    unknown = sorted(set(kept or ()) - set(known))
    if unknown or not fields:
        raise ConfigError(
            "These fields cannot be selected.",
            where="model.net.fields",
            expected="one or more of " + ", ".join(known),
            found=", ".join(unknown) or "none",
        )
    return schema.model_copy(update={"fields": fields})


class FieldSelection(nn.Module):
    """Turns a batch read with a schema into what the same batch read with some of its fields would be.

    Args:
        schema: The schema that batches are read with.
        kept: Names of the fields that stay.
    """

    def __init__(self, schema: Schema, kept: Collection[str]) -> None:
        super().__init__()
        self.request = _SideSelection(schema.side(Side.REQUEST), kept)
        self.candidate = _SideSelection(schema.side(Side.CANDIDATE), kept)
        self.cross = _SideSelection(schema.side(Side.CROSS), kept)

    def forward(self, batch: Batch) -> Batch:
        """Returns the batch without the other fields (other tensors are shared)."""
        return replace(
            batch,
            request=self.request(batch.request),
            candidate=self.candidate(batch.candidate),
            cross=self.cross(batch.cross),
        )


class ServingProjection(FieldSelection):
    """Turns a batch read with the full schema into what the same batch read with `serving_view()` would be.

    Args:
        schema: The full schema that batches are read with.
    """

    def __init__(self, schema: Schema) -> None:
        super().__init__(schema, frozenset(f.name for f in schema.fields if not f.privileged))


def _kept_columns(fields: list[FieldSpec], kept: Collection[str]) -> Tensor:
    return torch.tensor([i for i, f in enumerate(fields) if f.name in kept], dtype=torch.long)
