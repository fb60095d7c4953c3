"""What a model reads, and how it becomes vectors."""

from __future__ import annotations

from dataclasses import dataclass

from distill.arguments import Bundle
from distill.features.placement import TableFactory
from distill.features.sequence import SequenceEncoding
from distill.features.tables import EmbeddingTables
from distill.schema import Schema


@dataclass(frozen=True)
class Features(Bundle):
    """The fields of a model and how they are embedded.

    Attributes:
        schema: Prepared schema that batches are read with; of a pre-ranker its serving view.
        embedding_dim: Width of fields that do not name their own.
        embedding_std: Standard deviation of the initial embeddings.
        sequence: How sequence fields are encoded.
        tables: Builds the embedding tables; whole ones if not given.
    """

    schema: Schema
    embedding_dim: int
    embedding_std: float
    sequence: SequenceEncoding
    tables: TableFactory = EmbeddingTables

    @property
    def num_tasks(self) -> int:
        """K."""
        return len(self.schema.tasks)

    def build_tables(self) -> EmbeddingTables:
        """Builds embedding tables of all fields."""
        return self.tables(self.schema, self.embedding_dim, self.embedding_std)
