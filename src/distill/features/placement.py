"""Where the embedding tables of a model lie: whole in every process, divided over the ranks of a run, or those of
another model."""

from __future__ import annotations

from collections.abc import Callable, Collection

import torch.distributed as dist

from distill.errors import ConfigError
from distill.features.borrowed import BorrowedTables
from distill.features.sharded import KINDS, ShardedTables
from distill.features.tables import EmbeddingTables
from distill.schema import Schema

TableFactory = Callable[[Schema, int, float], EmbeddingTables]
"""Builds tables as `EmbeddingTables` does: from a schema, the usual width and the initial standard deviation."""


def table_factory(sharding: str | None) -> TableFactory:
    """Returns what builds tables that are divided over the ranks; one process has them whole.

    Args:
        sharding: `row_wise`, `table_wise`, `planned`, or None for whole tables.

    Raises:
        ConfigError: There is no such kind.
    """
    if sharding is None:
        return EmbeddingTables
    kind = sharding
    if kind not in KINDS:
        raise ConfigError(
            "Unknown sharding of the embedding tables.",
            where="embedding.sharding",
            expected=f"null, {', '.join(KINDS)}",
            found=str(kind),
        )

    def build(schema: Schema, embedding_dim: int, init_std: float) -> EmbeddingTables:
        if not dist.is_initialized() or dist.get_world_size() == 1:
            return EmbeddingTables(schema, embedding_dim, init_std)
        return ShardedTables(schema, embedding_dim, init_std, kind)

    return build


class TableSharing:
    """Lets two models share embedding tables: one is built with `lend`, then the other with what `borrow` returns.

    Of a model with several sets of tables the first takes part. The weights of a linear part are never shared.
    """

    def __init__(self) -> None:
        self._lent: EmbeddingTables | None = None

    def lend(self, schema: Schema, embedding_dim: int, init_std: float) -> EmbeddingTables:
        """Builds tables of the model that lends."""
        tables = EmbeddingTables(schema, embedding_dim, init_std)
        self._lent = self._lent or tables
        return tables

    def borrow(self, own: Collection[str]) -> TableFactory:
        """Returns what builds the tables of the model that uses the lent ones.

        Args:
            own: Fields whose tables each of the two has for itself.

        Raises:
            ConfigError: Nothing was lent.
        """
        if self._lent is None:
            raise ConfigError(
                "There are no embedding tables to share.",
                where="teacher.share_embeddings",
                expected="a student that embeds fields",
                remedy="Take such a student, or teacher.share_embeddings=false.",
            )

        def build(schema: Schema, embedding_dim: int, init_std: float) -> EmbeddingTables:
            lender, self._lent = self._lent, None
            if lender is None:
                return EmbeddingTables(schema, embedding_dim, init_std)
            return BorrowedTables(schema, embedding_dim, init_std, lender, own)

        return build
