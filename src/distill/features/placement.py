"""Where the embedding tables of a model lie, and in which numbers: whole in every process, divided over the ranks of a
run, or those of another model."""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import partial

import torch
import torch.distributed as dist

from distill.errors import ConfigError
from distill.features.borrowed import BorrowedTables
from distill.features.sharded import KINDS, ShardedTables
from distill.features.tables import EmbeddingTables
from distill.schema import Schema

TableFactory = Callable[[Schema, int, float], EmbeddingTables]
"""Builds tables as `EmbeddingTables` does: from a schema, the usual width and the initial standard deviation."""


DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
"""Types in which tables can be stored, by their name in a config."""


def table_factory(sharding: str | None, dtype: str = "float32") -> TableFactory:
    """Returns what builds tables that are divided over the ranks, of which one process has them whole; or whole ones.

    Args:
        sharding: `row_wise`, `table_wise`, `planned`, or None for whole tables.
        dtype: In which rows are stored: `float32`, or `bfloat16` of whole tables.

    Raises:
        ConfigError: There is no such kind or type, or tables of this kind do not have the type.
    """
    if dtype not in DTYPES:
        raise ConfigError(
            "Unknown type of the embedding tables.",
            where="embedding.dtype",
            expected=" or ".join(DTYPES),
            found=str(dtype),
        )
    if sharding is None:
        return EmbeddingTables if dtype == "float32" else partial(EmbeddingTables, dtype=DTYPES[dtype])
    kind = sharding
    if kind not in KINDS:
        raise ConfigError(
            "Unknown sharding of the embedding tables.",
            where="embedding.sharding",
            expected=f"null, {', '.join(KINDS)}",
            found=str(kind),
        )

    if dtype != "float32":
        raise ConfigError(
            "Tables that are divided over ranks are updated by TorchRec, in float32 only.",
            where="embedding.dtype",
            expected="float32 with embedding.sharding",
            found=f"{dtype}, with embedding.sharding={kind}",
            remedy="Set embedding.dtype=float32, or embedding.sharding=null.",
        )

    def build(schema: Schema, embedding_dim: int, init_std: float) -> EmbeddingTables:
        if not dist.is_initialized() or dist.get_world_size() == 1:
            return EmbeddingTables(schema, embedding_dim, init_std)
        return ShardedTables(schema, embedding_dim, init_std, kind)

    return build


class TableSharing:
    """Lets two models share embedding tables: one is built with `lend`, then the other with what `borrow` returns.

    Of a model with several sets of tables the first takes part. The weights of a linear part are never shared.

    Args:
        whole: Builds tables that are not shared, and those that are lent.
    """

    def __init__(self, whole: TableFactory = EmbeddingTables) -> None:
        self._whole = whole
        self._lent: EmbeddingTables | None = None

    def lend(self, schema: Schema, embedding_dim: int, init_std: float) -> EmbeddingTables:
        """Builds tables of the model that lends."""
        tables = self._whole(schema, embedding_dim, init_std)
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
                return self._whole(schema, embedding_dim, init_std)
            return BorrowedTables(schema, embedding_dim, init_std, lender, own)

        return build
