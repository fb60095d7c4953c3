"""Fused embedding tables: all tables of one width are one parameter, so that a block costs one gather per width."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from typing_extensions import Self

from distill.errors import SchemaError
from distill.features.dropout import IdDropout
from distill.features.groups import TableGroups, is_group, set_group_rows
from distill.features.lookup import embedding_mean, embedding_rows
from distill.schema import FieldSpec, Schema


@dataclass(frozen=True)
class TablePlace:
    """Where a table lies: rows `first` to `first + size` of the fused table of its width."""

    width: int
    first: int
    size: int


class EmbeddingTables(nn.Module):
    """All embedding tables of a model, fused by width.

    Fields that name the same table share its rows, whatever their side (a history and the candidate's id, say).
    Gradients are sparse: an optimiser can update the touched rows only. Rows of groups (`cold` fields) are the mean of
    their members' rows whenever the tables go from training to evaluation; in between they stay as they are.

    Args:
        schema: Prepared schema: every id field knows its `size`.
        embedding_dim: Width of fields that do not name their own.
        init_std: Standard deviation of the initial rows.
        dtype: In which rows are stored. Those of bfloat16 are float32 once they are looked up, and so are their
            gradients; the initial ones are those of float32, rounded.

    Attributes:
        embedding_dim: As given.
        init_std: As given.
        dtype: As given.
        id_dropout: Of the ids that are looked up; None without.
        value_dropout: Of the values of their rows; None without.
        groups: Groups of the ids of `cold` fields.
        started: Table to the ids whose rows begin with something of their own.
    """

    def __init__(
        self, schema: Schema, embedding_dim: int, init_std: float = 0.05, dtype: torch.dtype = torch.float32
    ) -> None:
        super().__init__()
        self.embedding_dim = embedding_dim
        self.dtype = dtype
        self._places: dict[str, TablePlace] = {}
        rows: dict[int, int] = {}
        for spec in schema.fields:
            if not spec.encoding.makes_ids or spec.table in self._places:
                continue
            if spec.size is None:
                raise SchemaError(
                    "The schema is not prepared: a field does not know how many ids it has.",
                    where=f"field {spec.name}",
                    remedy="Build models from the schema.yaml that `prepare` wrote.",
                )
            width = spec.embedding_dim or embedding_dim
            self._places[spec.table] = TablePlace(width, rows.get(width, 0), spec.size)
            rows[width] = rows.get(width, 0) + spec.size
        self.groups = TableGroups(schema)
        self.init_std = init_std
        self.id_dropout: IdDropout | None = None
        self.value_dropout: nn.Dropout | None = None
        self.started: dict[str, Tensor] = {}
        self._frozen: dict[str, Tensor] = {}
        self._allocate(rows, init_std)

    def drop(self, ids: float, values: float) -> None:
        """Drops some of what is looked up, in training alone.

        Args:
            ids: Probability that an id becomes the unknown one of its table; see `IdDropout`.
            values: Probability that a value of a looked up row, or of the mean of a sequence's rows, is 0; the others
                are divided by 1 - `values`.
        """
        starts = [(place.width, place.first) for place in self._places.values()]
        self.id_dropout = IdDropout(ids, starts) if ids > 0 else None
        self.value_dropout = nn.Dropout(values) if values > 0 else None

    def train(self, mode: bool = True) -> Self:
        """Goes into training or evaluation, where groups stand for ids that training does not have."""
        if self.training and not mode:
            self.set_group_rows()
        return super().train(mode)

    def set_group_rows(self) -> None:
        """Sets the rows of groups to the mean of their members' rows."""
        for table, of in self.groups.items():
            set_group_rows(self.rows_of(table), of)

    def rows_of(self, table: str) -> Tensor:
        """Returns the rows of a table `[size, width]`, without gradient: what is written there is in the table."""
        place = self._places[table]
        rows: Tensor = self.weights[str(place.width)].detach()[place.first : place.first + place.size]
        return rows

    def freeze(self, table: str, ids: Tensor) -> None:
        """Lets some rows of a table, given by their ids, learn no more."""
        self._frozen[table] = ids

    def held_rows(self) -> dict[int, Tensor]:
        """Returns which rows of the fused tables do not learn, by width `[rows]` bool; of widths that have such."""
        found: dict[int, Tensor] = {}

        def of(table: str) -> Tensor:
            place = self._places[table]
            weight = self.weights[str(place.width)]
            every = found.setdefault(place.width, weight.new_zeros(weight.shape[0], dtype=torch.bool))
            return every[place.first : place.first + place.size]

        for table, groups in self.groups.items():
            of(table).logical_or_(is_group(groups).to(self.weights[str(self._places[table].width)].device))
        for table, ids in self._frozen.items():
            of(table)[ids] = True
        return found

    def _allocate(self, rows: dict[int, int], init_std: float) -> None:
        weights = {
            str(width): nn.Parameter(self._initial(count, width, init_std).to(self.dtype))
            for width, count in rows.items()
        }
        self.weights = nn.ParameterDict(OrderedDict(weights))  # of a plain dict it would sort the widths as text

    def _initial(self, count: int, width: int, std: float) -> Tensor:
        return torch.randn(count, width) * std

    def width(self, spec: FieldSpec) -> int:
        """Width of a field's embedding; vectors of a sequence, which have no table, are mapped to it."""
        if spec.has_vectors:
            return spec.embedding_dim or self.embedding_dim
        return self._places[spec.table].width

    def offset(self, spec: FieldSpec) -> int:
        """First row of a field's table within the fused table of its width."""
        return self._places[spec.table].first

    @property
    def places(self) -> Mapping[str, TablePlace]:
        """Where each table lies within the fused ones."""
        return self._places

    def rows(self, width: int, ids: Tensor) -> Tensor:
        """Gathers rows of the fused table of one width.

        Args:
            width: Which fused table.
            ids: Any shape `[…]` int64, offsets added.

        Returns:
            `[…, width]`.
        """
        return self._after_dropout(self._rows(width, self._left(width, ids)))

    def mean(self, width: int, ids: Tensor, lengths: Tensor) -> Tensor:
        """Averages the rows of each sequence.

        Args:
            width: Which fused table.
            ids: Values of all sequences `[sum(lengths)]`, offsets added.
            lengths: `[B]`.

        Returns:
            `[B, width]`; 0 for an empty sequence.
        """
        return self._after_dropout(self._mean(width, self._left(width, ids), lengths))

    def _rows(self, width: int, ids: Tensor) -> Tensor:
        return embedding_rows(self.weights[str(width)], ids)

    def _mean(self, width: int, ids: Tensor, lengths: Tensor) -> Tensor:
        return embedding_mean(self.weights[str(width)], ids, lengths)

    def _left(self, width: int, ids: Tensor) -> Tensor:
        left: Tensor = ids if self.id_dropout is None else self.id_dropout(width, ids)
        return left

    def _after_dropout(self, values: Tensor) -> Tensor:
        left: Tensor = values if self.value_dropout is None else self.value_dropout(values)
        return left


class UndrawnTables(EmbeddingTables):
    """Tables whose rows are memory as it is, for a model whose weights are loaded: to draw large ones takes longer than
    to read them. Nothing is taken from torch's generator for them."""

    def _initial(self, count: int, width: int, std: float) -> Tensor:
        return torch.empty(count, width)
