"""Where the embedding tables of a model lie: whole in every process, or divided over the ranks of a run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch.distributed as dist

from distill.errors import ConfigError
from distill.features.sharded import KINDS, ShardedTables
from distill.features.tables import EmbeddingTables
from distill.schema import Schema

_sharding: ContextVar[str | None] = ContextVar("distill_sharding", default=None)


@contextmanager
def table_sharding(kind: str | None) -> Iterator[None]:
    """Divides the tables of the models that are built in the body over the ranks; of models built elsewhere, none are.

    Args:
        kind: `row_wise`, `table_wise`, `planned`, or None for whole tables.

    Raises:
        ConfigError: There is no such kind.
    """
    if kind is not None and kind not in KINDS:
        raise ConfigError(
            "Unknown sharding of the embedding tables.",
            where="embedding.sharding",
            expected=f"null, {', '.join(KINDS)}",
            found=str(kind),
        )
    token = _sharding.set(kind)
    try:
        yield
    finally:
        _sharding.reset(token)


def build_tables(schema: Schema, embedding_dim: int, init_std: float) -> EmbeddingTables:
    """Builds the tables of a model, whole or sharded as `table_sharding` says; one process has them whole.

    Args:
        schema: Prepared schema.
        embedding_dim: Width of fields that do not name their own.
        init_std: Standard deviation of the initial rows.
    """
    kind = _sharding.get()
    if kind is None or not dist.is_initialized() or dist.get_world_size() == 1:
        return EmbeddingTables(schema, embedding_dim, init_std)
    return ShardedTables(schema, embedding_dim, init_std, kind)
