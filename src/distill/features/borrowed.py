"""Embedding tables that two models share, each with a standalone layout in checkpoints."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection

import torch
from torch import Tensor, nn

from distill.errors import ConfigError
from distill.features.tables import EmbeddingTables, TablePlace
from distill.schema import Schema


class BorrowedTables(EmbeddingTables):
    """Tables of a model that uses, of each table that another model has too, the rows of that one.

    One fused parameter per width holds the rows of both: first all of the lender's, whose layout does not change, then
    those that only the borrower has. Both models' lookups add to its gradient.

    Args:
        schema: Prepared schema of the borrower.
        embedding_dim: Width of fields that do not name their own.
        init_std: Standard deviation of the initial rows.
        lender: Tables of the other model; its parameters are replaced by the joint ones.
        own: Fields whose tables are not shared, though both models have them.

    The rows are stored in the type of the lender's.

    Raises:
        ConfigError: A field of `own` does not exist, or a shared table has another width here.
    """

    def __init__(
        self, schema: Schema, embedding_dim: int, init_std: float, lender: EmbeddingTables, own: Collection[str]
    ) -> None:
        super().__init__(schema, embedding_dim, init_std, lender.dtype)
        alone = dict(self._places)
        self._not_shared = _tables_of(schema, own)
        _check_widths(alone, lender, self._not_shared)
        self._lent: dict[int, int] = {int(width): weight.shape[0] for width, weight in lender.weights.items()}
        order: dict[int, list[Tensor]] = {place.width: [] for place in alone.values()}
        count = {width: self._lent.get(width, 0) for width in order}
        fresh: dict[int, list[Tensor]] = {width: [] for width in order}
        for table, place in alone.items():
            first = count[place.width]
            if self._is_shared(table, lender):
                first = lender.places[table].first
            else:
                rows = self.weights[str(place.width)].detach()
                fresh[place.width].append(rows[place.first : place.first + place.size])
                count[place.width] += place.size
            self._places[table] = TablePlace(place.width, first, place.size)
            order[place.width].append(torch.arange(first, first + place.size))
        self._order = {width: torch.cat(parts) for width, parts in order.items()}
        joint: dict[str, nn.Parameter] = {}
        for width, parts in fresh.items():
            lent = [lender.weights[str(width)].detach()] if width in self._lent else []
            joint[str(width)] = nn.Parameter(torch.cat([*lent, *parts]))
            if lent:
                lender.weights[str(width)] = joint[str(width)]
        self.weights = nn.ParameterDict(OrderedDict(joint))

    def _is_shared(self, table: str, lender: EmbeddingTables) -> bool:
        return table in lender.places and table not in self._not_shared

    @property
    def widths(self) -> tuple[int, ...]:
        """Widths of the fused tables."""
        return tuple(self._order)

    def lent_rows(self, width: int) -> int:
        """How many rows of the joint table of a width are the lender's: the first ones."""
        return self._lent.get(width, 0)

    def own_layout(self, width: int, joint: Tensor) -> Tensor:
        """Returns the borrower's rows of a joint table as a model built alone has them."""
        return joint.index_select(0, self._order[width].to(joint.device))

    def joint_layout(self, width: int, lent: Tensor | None, own: Tensor) -> Tensor:
        """Puts a joint table together again.

        Args:
            width: Which.
            lent: The lender's rows `[n, width]`; None if it has none of this width.
            own: From `own_layout`.
        """
        joint = torch.empty_like(self.weights[str(width)], device=own.device)
        if lent is not None:
            joint[: lent.shape[0]] = lent
        joint[self._order[width].to(own.device)] = own
        return joint


def _tables_of(schema: Schema, fields: Collection[str]) -> frozenset[str]:
    known = {f.name: f.table for f in schema.fields if f.encoding.makes_ids}
    unknown = sorted(set(fields) - known.keys())
    if unknown:
        raise ConfigError(
            "Some fields that should have their own embeddings do not exist.",
            where="teacher.own_embeddings",
            expected=f"embedded fields: {', '.join(known)}",
            found=", ".join(unknown),
        )
    return frozenset(known[name] for name in fields)


def _check_widths(alone: dict[str, TablePlace], lender: EmbeddingTables, not_shared: frozenset[str]) -> None:
    for table, place in alone.items():
        other = lender.places.get(table)
        if other is not None and table not in not_shared and other.width != place.width:
            raise ConfigError(
                "Teacher and student cannot share an embedding table: theirs have different widths.",
                where="teacher.share_embeddings",
                expected=f"width {other.width} of the student's table {table}",
                found=f"width {place.width} of the teacher's",
                remedy="Give both the same embedding_dim, list the field in teacher.own_embeddings, or set "
                "teacher.share_embeddings=false.",
            )
