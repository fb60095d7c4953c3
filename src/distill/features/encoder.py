"""Embeds the fields of one side and lays them side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from distill.batch import FeatureBlock, Ragged
from distill.errors import ConfigError
from distill.features.layout import FieldLayout
from distill.features.numbers import NumberEmbeddings
from distill.features.sequence import SequenceEncoding, SequencePooling
from distill.features.sequence_values import SequenceValues
from distill.features.tables import EmbeddingTables
from distill.schema import FieldSpec, Kind, Schema, Side


@dataclass(frozen=True)
class _IdGroup:
    """Id fields of one width: their columns in `ids`, and where each one's table starts."""

    width: int
    columns: tuple[int, ...]
    offsets: tuple[int, ...]


class SideEncoder(nn.Module):
    """Encodes a `FeatureBlock` as one row per request or candidate: [ids by width | sequences | embedded
    numbers | vectors | numbers].

    A sequence is one vector whatever the candidate (target-agnostic pooling).

    Args:
        schema: Prepared schema, the same view as the batch was read with.
        side: Which fields.
        tables: Embedding tables, shared between the sides of a model.
        sequence: How sequences are encoded; None leaves them out, for an encoder that reads them otherwise.

    Attributes:
        layout: The fields of the encoded row.

    Raises:
        ConfigError: `sequence` depends on the candidate.
    """

    def __init__(self, schema: Schema, side: Side, tables: EmbeddingTables, sequence: SequenceEncoding | None) -> None:
        super().__init__()
        self.tables = tables
        fields = [f for f in schema.side(side) if sequence is not None or not f.is_sequence]
        ids = [f for f in fields if f.is_id]
        self._groups = _group_by_width(ids, tables)
        self._sequences = [f for f in fields if f.is_sequence]
        self.sequence_values = SequenceValues(self._sequences, tables)
        self.sequence_encoders = _sequence_encoders(self._sequences, tables, sequence)
        self._vectors = [f for f in fields if f.kind is Kind.VECTOR]
        self._plain_numbers = [f for f in fields if f.is_number and not f.is_embedded_number]
        self.number_embeddings = NumberEmbeddings.of(fields, tables.embedding_dim, tables.init_std)
        names = [(ids[c].name, group.width) for group in self._groups for c in group.columns]
        names += [(f.name, tables.width(f)) for f in self._sequences]
        names += [] if self.number_embeddings is None else self.number_embeddings.widths.items()
        dense = [(f.name, f.width or 0) for f in self._vectors] + [(f.name, 1) for f in self._plain_numbers]
        self.layout = FieldLayout(dict(names + dense), frozenset(name for name, _ in dense))
        self.out_features = self.layout.num_columns
        for i, group in enumerate(self._groups):
            self.register_buffer(f"_offsets_{i}", torch.tensor(group.offsets), persistent=False)
            self.register_buffer(f"_columns_{i}", torch.tensor(group.columns), persistent=False)
        if self.number_embeddings is not None:
            numbers = [f for f in fields if f.is_number]
            plain = torch.tensor([i for i, f in enumerate(numbers) if not f.is_embedded_number], dtype=torch.int64)
            self.register_buffer("_plain_columns", plain, persistent=False)
        self._single = len(self._groups) == 1

    def forward(self, block: FeatureBlock) -> Tensor:
        """Returns `[B, out_features]`."""
        parts: list[Tensor] = []
        for i, group in enumerate(self._groups):
            ids = block.ids if self._single else block.ids.index_select(1, self.get_buffer(f"_columns_{i}"))
            rows = self.tables.rows(group.width, ids + self.get_buffer(f"_offsets_{i}"))
            parts.append(rows.flatten(1))
        parts.extend(self._pooled(spec, block.sequences[spec.name]) for spec in self._sequences)
        if self.number_embeddings is not None:
            parts.append(self.number_embeddings(block.numbers))
        parts.extend(block.vectors[spec.name] for spec in self._vectors)
        if self._plain_numbers:
            all_plain = self.number_embeddings is None
            plain = block.numbers if all_plain else block.numbers.index_select(1, self.get_buffer("_plain_columns"))
            parts.append(plain)
        if not parts:
            return block.numbers.new_zeros((block.num_rows, 0))
        return torch.cat(parts, dim=1)

    def _pooled(self, spec: FieldSpec, ragged: Ragged) -> Tensor:
        if spec.name not in self.sequence_encoders:
            return self.sequence_values.mean(self.tables, spec, ragged)
        values = self.sequence_values.rows(self.tables, spec, ragged)
        pooled: Tensor = self.sequence_encoders[spec.name](values, ragged.lengths, ragged.longest)
        return pooled


def _group_by_width(ids: Sequence[FieldSpec], tables: EmbeddingTables) -> list[_IdGroup]:
    widths = sorted({tables.width(f) for f in ids})
    groups = []
    for width in widths:
        members = [(i, tables.offset(f)) for i, f in enumerate(ids) if tables.width(f) == width]
        groups.append(_IdGroup(width, tuple(i for i, _ in members), tuple(o for _, o in members)))
    return groups


def _sequence_encoders(
    fields: Sequence[FieldSpec], tables: EmbeddingTables, sequence: SequenceEncoding | None
) -> nn.ModuleDict:
    if sequence is not None and not isinstance(sequence, SequencePooling):
        raise ConfigError(
            "A side is encoded before the candidate is known, so its sequences cannot depend on it.",
            where="sequence",
            expected="sequence=mean or sequence=transformer",
            found=type(sequence).__name__,
            remedy="Take a ranker for sequences seen from the candidate (model=din, model=bst).",
        )
    encoders = {f.name: sequence.build(tables.width(f)) for f in fields} if sequence is not None else {}
    return nn.ModuleDict({name: net for name, net in encoders.items() if net is not None})
