"""What a model reads, and how it becomes vectors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from distill.arguments import Bundle
from distill.checks import require_number
from distill.errors import ConfigError
from distill.features.placement import TableFactory
from distill.features.sequence import SequenceEncoding
from distill.features.tables import EmbeddingTables
from distill.features.widths import with_widths
from distill.schema import Schema

_MOST_DROPPED = 0.99


@dataclass(frozen=True)
class Features(Bundle):
    """The fields of a model and how they are embedded.

    Attributes:
        schema: Prepared schema that batches are read with; of a pre-ranker its serving view.
        embedding_dim: Width of fields that do not name their own.
        embedding_std: Standard deviation of the initial embeddings.
        sequence: How sequence fields are encoded.
        tables: Builds the embedding tables; whole ones if not given.
        id_dropout: Probability that an id is taken for the unknown one of its table, in training.
        embedding_dropout: Probability that a value of an id's embedding is 0, in training.
        embedding_widths: `equal`, or `auto`: tables of few ids are narrower (see `width_of`).

    Raises:
        ConfigError: A probability is not below 1, or the widths are of no known kind.
    """

    schema: Schema
    embedding_dim: int
    embedding_std: float
    sequence: SequenceEncoding
    tables: TableFactory = EmbeddingTables
    id_dropout: float = 0.0
    embedding_dropout: float = 0.0
    embedding_widths: Literal["equal", "auto"] = "equal"

    def __post_init__(self) -> None:
        for name in ("id_dropout", "embedding_dropout"):
            require_number(name, getattr(self, name), 0.0, _MOST_DROPPED)
        if self.embedding_widths not in ("equal", "auto"):
            raise ConfigError(
                "Unknown widths of embeddings.",
                where="embedding_widths",
                expected="equal or auto",
                found=str(self.embedding_widths),
            )

    @property
    def num_tasks(self) -> int:
        """K."""
        return len(self.schema.tasks)

    def build_tables(self) -> EmbeddingTables:
        """Builds embedding tables of all fields."""
        schema = with_widths(self.schema, self.embedding_dim) if self.embedding_widths == "auto" else self.schema
        tables = self.tables(schema, self.embedding_dim, self.embedding_std)
        tables.drop(self.id_dropout, self.embedding_dropout)
        return tables
