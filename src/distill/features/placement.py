"""Where the embedding tables of a model lie: whole in every process, divided over the ranks of a run, or those of
another model."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch.distributed as dist

from distill.errors import ConfigError
from distill.features.borrowed import BorrowedTables
from distill.features.sharded import KINDS, ShardedTables
from distill.features.tables import EmbeddingTables
from distill.schema import Schema

_sharding: ContextVar[str | None] = ContextVar("distill_sharding", default=None)
_sharing: ContextVar[TableSharing | None] = ContextVar("distill_sharing", default=None)


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


class TableSharing:
    """Lets two models that are built one after the other share embedding tables: one lends, then the other borrows.

    Of a model with several sets of tables the first takes part. The weights of a linear part are never shared.
    """

    def __init__(self) -> None:
        self._lent: EmbeddingTables | None = None
        self._borrows = False
        self._own: frozenset[str] = frozenset()

    @contextmanager
    def lend(self) -> Iterator[None]:
        """The model that is built in the body lends its tables."""
        with self._active():
            yield

    @contextmanager
    def borrow(self, own: Collection[str]) -> Iterator[None]:
        """The model that is built in the body uses the lent tables.

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
        self._borrows, self._own = True, frozenset(own)
        with self._active():
            yield

    @contextmanager
    def _active(self) -> Iterator[None]:
        token = _sharing.set(self)
        try:
            yield
        finally:
            _sharing.reset(token)

    def build(self, schema: Schema, embedding_dim: int, init_std: float) -> EmbeddingTables:
        """Builds tables that are lent, or that borrow."""
        if self._borrows and self._lent is not None:
            lender, self._lent = self._lent, None
            return BorrowedTables(schema, embedding_dim, init_std, lender, self._own)
        tables = EmbeddingTables(schema, embedding_dim, init_std)
        if not self._borrows and self._lent is None:
            self._lent = tables
        return tables


def build_tables(schema: Schema, embedding_dim: int, init_std: float) -> EmbeddingTables:
    """Builds the tables of a model, whole, sharded as `table_sharding` says (one process has them whole), or shared as
    `TableSharing` says.

    Args:
        schema: Prepared schema.
        embedding_dim: Width of fields that do not name their own.
        init_std: Standard deviation of the initial rows.
    """
    kind, sharing = _sharding.get(), _sharing.get()
    if sharing is not None:
        return sharing.build(schema, embedding_dim, init_std)
    if kind is None or not dist.is_initialized() or dist.get_world_size() == 1:
        return EmbeddingTables(schema, embedding_dim, init_std)
    return ShardedTables(schema, embedding_dim, init_std, kind)
