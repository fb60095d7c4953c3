"""Selected fields of a pair in groups: what the pre-rankers that choose their fields read."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from distill.batch import Batch
from distill.errors import ConfigError
from distill.features import Features, FieldLayout, FieldSelection, kept_fields
from distill.layers.linear_log import linear_log
from distill.models.prerankers.base import PreRanker
from distill.models.rankers.pair_encoder import PairEncoder

Groups = Mapping[str, Sequence[str]]


class GatedPreRanker(PreRanker):
    """A pre-ranker, all of it online, that weighs groups of fields.

    Attributes:
        fields: The grouped fields that it reads.
    """

    fields: GroupedFields

    @abstractmethod
    def group_weights(self, batch: Batch) -> Tensor:
        """Returns the weight of each group for each candidate `[N, M]`, in 0..1."""


class GroupedFields(nn.Module):
    """Encodes some fields of a pair as one row, group by group; the others are not even looked up.

    Args:
        features: Fields of a serving view; their sequences may be encoded in view of the candidate: all is online.
        kept: Names of the fields that are read; all if not given.
        groups: Group name to the names of its fields; each of the other fields is a group alone.
        compress: Whether numbers and vectors go through `linear_log`.

    Attributes:
        groups: Group name to its fields, in the order of the columns.
        order: Names of all fields that are read, in the order of the columns.
        compress: As given.
        widths: Group name to width.

    Raises:
        ConfigError: A name is unknown, or in two groups, or no field is left.
    """

    def __init__(
        self,
        features: Features,
        kept: Sequence[str] | None,
        groups: Groups | None,
        compress: bool,
    ) -> None:
        super().__init__()
        schema = features.schema
        chosen = kept_fields(schema, kept)
        names = [f.name for f in chosen.fields]
        self.groups = _grouped([f.name for f in schema.fields], names, groups or {})
        self.selection = FieldSelection(schema, frozenset(names))
        self.encoder = PairEncoder(replace(features, schema=chosen))
        layout = self.encoder.layout
        self.widths = {name: sum(layout.widths[f] for f in members) for name, members in self.groups.items()}
        self.out_features = layout.num_columns
        self.order = [f for members in self.groups.values() for f in members]
        self.compress = compress
        self.picked = PickedColumns(layout, self.order, compress)

    def forward(self, batch: Batch) -> Tensor:
        """Returns `[N, ΣD]`, the fields of a group side by side."""
        row: Tensor = self.picked(self.encoder(self.selection(batch)).x)
        return row


class PickedColumns(nn.Module):
    """Picks fields of an encoded row, in their order.

    Args:
        layout: Of the row.
        names: Of the fields.
        compress: Whether numbers and vectors go through `linear_log`.
    """

    def __init__(self, layout: FieldLayout, names: Sequence[str], compress: bool) -> None:
        super().__init__()
        is_dense = torch.tensor([f in layout.dense for f in names for _ in range(layout.widths[f])], dtype=torch.bool)
        columns = layout.columns(names)
        dense = columns[is_dense]
        self._compress = compress and len(dense) > 0
        if self._compress:  # they are read behind the others
            columns[is_dense] = layout.num_columns + torch.arange(len(dense))
        self.register_buffer("_columns", columns, persistent=False)
        self.register_buffer("_dense", dense, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Returns `[B, ΣD]` of the fields for `x [B, …]` of all."""
        if self._compress:  # of the few columns of numbers alone: a logarithm of all would cost more than the network
            x = torch.cat([x, linear_log(x.index_select(1, self.get_buffer("_dense")))], dim=1)
        return x.index_select(1, self.get_buffer("_columns"))


def named_fields(known: Sequence[str], groups: Groups) -> tuple[list[str], list[str]]:
    """Returns the fields that groups name, and those of them that are unknown or named twice."""
    named = [name for members in groups.values() for name in members]
    return named, sorted({name for name in named if name not in known or named.count(name) > 1})


def _grouped(known: Sequence[str], kept: Sequence[str], groups: Groups) -> dict[str, list[str]]:
    named, wrong = named_fields(known, groups)
    alone = [name for name in kept if name not in named]
    clash = sorted(set(groups) & set(alone))
    if wrong or clash:
        raise ConfigError(
            "The groups do not cover each field once.",
            where="model.net.groups",
            expected="each field once, and no group named as a field outside it: " + ", ".join(known),
            found=", ".join([*wrong, *clash]),
        )
    found = {name: [f for f in members if f in kept] for name, members in groups.items()}
    return {name: members for name, members in found.items() if members} | {name: [name] for name in alone}
