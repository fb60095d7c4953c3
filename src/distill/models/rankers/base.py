"""What every ranker starts with: all fields of a pair in one row."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from distill.batch import Batch, RankerOutput
from distill.features import SequencePooling, SideEncoder, build_tables
from distill.schema import Schema, Side


class PairEncoder(nn.Module):
    """Encodes the three sides of a batch and joins them into one row per candidate.

    The request side is computed once per request and expanded late.

    Args:
        schema: Prepared schema.
        embedding_dim: Width of fields that do not name their own.
        embedding_std: Standard deviation of the initial embeddings.
        sequence: How sequence fields are encoded.
    """

    def __init__(self, schema: Schema, embedding_dim: int, embedding_std: float, sequence: SequencePooling) -> None:
        super().__init__()
        self.tables = build_tables(schema, embedding_dim, embedding_std)
        self.request = SideEncoder(schema, Side.REQUEST, self.tables, sequence)
        self.candidate = SideEncoder(schema, Side.CANDIDATE, self.tables, sequence)
        self.cross = SideEncoder(schema, Side.CROSS, self.tables, sequence)
        self.out_features = self.request.out_features + self.candidate.out_features + self.cross.out_features

    def forward(self, batch: Batch) -> Tensor:
        """Returns `[N, out_features]`."""
        request = self.request(batch.request).index_select(0, batch.request_index)
        return torch.cat([request, self.candidate(batch.candidate), self.cross(batch.cross)], dim=1)


class Ranker(nn.Module, ABC):
    """A model that scores pairs jointly; nothing of it can be precomputed."""

    @abstractmethod
    def forward(self, batch: Batch) -> RankerOutput:
        """Scores the candidates of a batch."""
