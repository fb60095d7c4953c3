"""What every ranker starts with: all fields of a pair in one row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from distill.batch import Batch
from distill.errors import ConfigError
from distill.features import (
    Features,
    FieldLayout,
    MeanPooling,
    SequenceValues,
    SideEncoder,
    TargetEncoding,
)
from distill.layers.ragged import SequenceSizes
from distill.layers.sequence_search import Keys
from distill.schema import OOV_ID, FieldSpec, Schema, Side


class EncodedPairs(NamedTuple):
    """Rows of pairs.

    Attributes:
        x: All fields side by side `[N, ΣD]`.
        zero_weight: What target attention left on its zero vector, for each sequence `[N, S]`; S = 0 without it.
    """

    x: Tensor
    zero_weight: Tensor


class PairEncoder(nn.Module):
    """Encodes the three sides of a batch and joins them into one row per candidate.

    The request side is computed once per request and expanded late. Sequences that are seen from the candidate stand
    last in the row. They are queried by the candidate's field of the same table (the item of a sequence of items), or
    by a projection of all candidate fields if there is none.

    Args:
        features: The fields. Where sequences are encoded in view of the candidate, this is so for those of the
            request; those of the other sides are averaged.

    Attributes:
        layout: The fields of a row.

    Raises:
        ConfigError: A sequence is searched by keys that are not there.
    """

    def __init__(self, features: Features) -> None:
        super().__init__()
        schema, sequence = features.schema, features.sequence
        self.tables = features.build_tables()
        from_target = isinstance(sequence, TargetEncoding)
        others = MeanPooling() if from_target else sequence
        self.request = SideEncoder(schema, Side.REQUEST, self.tables, None if from_target else sequence)
        self.candidate = SideEncoder(schema, Side.CANDIDATE, self.tables, others)
        self.cross = SideEncoder(schema, Side.CROSS, self.tables, others)
        self._sequences: Sequence[FieldSpec] = ()
        self._query_starts: dict[str, int] = {}
        self._keys: dict[str, tuple[str, int]] = {}  # sequence to that of its keys, and the candidate's id column
        self.interests, self.queries = nn.ModuleDict(), nn.ModuleDict()
        if isinstance(sequence, TargetEncoding):
            self._sequences = [f for f in schema.side(Side.REQUEST) if f.is_sequence]
            for spec in self._sequences:
                self._add_interest(spec, schema, sequence)
        self.sequence_values = SequenceValues(self._sequences, self.tables)
        seen = FieldLayout({f.name: self.tables.width(f) for f in self._sequences})
        self.layout = self.request.layout + self.candidate.layout + self.cross.layout + seen

    @property
    def sees_candidate(self) -> bool:
        """Whether fields of the request are encoded in view of the candidate."""
        return len(self._sequences) > 0

    def _add_interest(self, spec: FieldSpec, schema: Schema, sequence: TargetEncoding) -> None:
        width = self.tables.width(spec)
        self.interests[spec.name] = sequence.build(width)
        same = [f.name for f in schema.side(Side.CANDIDATE) if f.is_id and f.table == spec.table]
        if same and not spec.has_vectors:
            self._query_starts[spec.name] = self.candidate.layout.start(same[0])
        else:
            self.queries[spec.name] = nn.Linear(self.candidate.out_features, width)
        if (keys := sequence.keys_of(spec.name)) is not None:
            self._keys[spec.name] = _key_fields(spec.name, keys, schema)

    def forward(self, batch: Batch) -> EncodedPairs:
        """Encodes the candidates of a batch."""
        candidate = self.candidate(batch.candidate)
        request = self.request(batch.request).index_select(0, batch.request_index)
        parts, unused = [request, candidate, self.cross(batch.cross)], []
        for spec in self._sequences:
            interest, zero_weight = self._interest(spec, candidate, batch)
            parts.append(interest)
            unused.append(zero_weight)
        zero_weight = torch.stack(unused, dim=1) if unused else candidate.new_zeros((candidate.shape[0], 0))
        return EncodedPairs(torch.cat(parts, dim=1), zero_weight)

    def _interest(self, spec: FieldSpec, candidate: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        ragged = batch.request.sequences[spec.name]
        values = self.sequence_values.rows(self.tables, spec, ragged)
        if spec.name in self._query_starts:
            query = candidate.narrow(1, self._query_starts[spec.name], self.tables.width(spec))
        else:
            query = self.queries[spec.name](candidate)
        keys = (self._keys_of(spec.name, batch),) if spec.name in self._keys else ()
        found: tuple[Tensor, Tensor] = self.interests[spec.name](
            query, values, ragged.lengths, batch.request_index, SequenceSizes(ragged.longest, ragged.seen), *keys
        )
        return found

    def _keys_of(self, sequence: str, batch: Batch) -> Keys:
        """Returns keys of values and candidates; values that are missing or unknown are equal to none."""
        name, column = self._keys[sequence]
        ragged, own = batch.request.sequences[name], batch.candidate.ids[:, column]
        return Keys(ragged.values, ragged.lengths, torch.where(own > OOV_ID, own, -1))


def _key_fields(sequence: str, keys: str, schema: Schema) -> tuple[str, int]:
    """Finds the sequence of keys, and the column among the candidate's ids that has a candidate's key."""
    where, sequences = "sequence.keys", {f.name: f for f in schema.side(Side.REQUEST) if f.is_sequence}
    if keys not in sequences:
        raise ConfigError(
            f"The keys of sequence {sequence} are not a sequence of the request.",
            where=where,
            expected=", ".join(sequences),
            found=keys,
        )
    ids = [f for f in schema.side(Side.CANDIDATE) if f.is_id]
    same = [column for column, f in enumerate(ids) if f.table == sequences[keys].table]
    if not same:
        raise ConfigError(
            f"No candidate has a key to search sequence {sequence} by.",
            where=where,
            expected=f"an id of candidates with the table of {keys}, {sequences[keys].table}",
            found=", ".join(f"{f.name} (table {f.table})" for f in ids) or "no ids",
            remedy="Give both fields one table in the schema, or let the search be soft.",
        )
    return keys, same[0]
