"""A model begins with what another one has learnt: dense weights by name and shape, embedding rows by raw value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from distill.data.format import Dataset
from distill.encodings import FittedEncodings
from distill.encodings.same_rows import rows_of_groups, same_rows
from distill.errors import ConfigError
from distill.features import EmbeddingTables
from distill.jobs.parts import load_model
from distill.models.prerankers.fitted import FittedPreRanker
from distill.serving.manifest import is_bundle
from distill.training.checkpoint_io import read_checkpoint
from distill.training.second_head import SecondHead, heads_of


@dataclass(frozen=True)
class MovedRows:
    """Rows of a fused table that were taken for their raw values.

    Attributes:
        name: Of the parameter, in either model.
        to: Rows of the one `[n]`.
        source: Rows of the other `[n]`.
    """

    name: str
    to: torch.Tensor
    source: torch.Tensor


@dataclass(frozen=True)
class Taken:
    """What a model took from another one.

    Attributes:
        dense: Names of its weights outside tables that it took.
        fresh: Names of those that the other does not have, or has in another shape.
        rows: Table to the number of rows that it took, and of all that it has (reserved ones included).
        grouped: Table to the number of values that the other does not know and whose group it does.
        moved: Which rows of tables came from where; none that began with a row of their group.
    """

    dense: tuple[str, ...]
    fresh: tuple[str, ...]
    rows: Mapping[str, tuple[int, int]]
    grouped: Mapping[str, int]
    moved: tuple[MovedRows, ...]

    def lines(self, origin: Path) -> list[str]:
        """Says it, in a line for the dense weights and one for the tables."""
        shown = ", ".join(self.fresh[:8]) + (", …" if len(self.fresh) > 8 else "")
        new = f"; new: {shown}" if self.fresh else ""
        tables = ", ".join(
            f"{name} {taken:,} of {rows:,}"
            + (" (encoded in another way)" if taken <= 2 < rows else "")
            + (f" and {self.grouped[name]:,} from their group" if self.grouped.get(name) else "")
            for name, (taken, rows) in self.rows.items()
        )
        return [
            f"begins with {len(self.dense)} of {len(self.dense) + len(self.fresh)} dense weights of {origin}{new}.",
            f"rows of its tables, by raw value: {tables or 'none'}.",
        ]


@torch.no_grad()
def warm_start(
    model: nn.Module, dataset: Dataset, checkpoint: Path, where: str, second_head: SecondHead | None = None
) -> Taken:
    """Gives a model the weights of a checkpoint that fit.

    A dense weight or buffer is taken if the checkpoint has one of the same name and shape. A row of an embedding table
    is taken if the table of that name is equally wide there and has a row of the same raw value; the reserved rows
    (missing, unknown) stand for the same in any table. A value that the checkpoint does not know begins with the row of
    its group there, if it has one and no start vector of its own. What is not taken keeps its initial value. A head of
    the teacher is taken too, if the checkpoint has one.

    Args:
        model: Built for the dataset.
        dataset: What it will be trained on.
        checkpoint: Of any model; it carries its encodings.
        where: The key of the config that names it.
        second_head: What of the model is served, if the teacher has a head of its own.

    Raises:
        DataError: The checkpoint does not carry its encodings.
        ConfigError: Nothing fits, or the model is fitted in one pass.
    """
    if isinstance(model, FittedPreRanker):
        raise ConfigError(
            "A model that is fitted in one pass cannot start from given weights.",
            where=where,
            expected="null",
            found=str(checkpoint),
        )
    old = load_model(checkpoint)
    others = {name: m for name, m in old.model.named_modules() if isinstance(m, EmbeddingTables)}
    in_tables, taking = set[str](), _Rows(old.fitted(checkpoint), dataset)
    for name, tables in model.named_modules(remove_duplicate=False):
        if not isinstance(tables, EmbeddingTables):
            continue
        in_tables |= {f"{name}.{parameter}" if name else parameter for parameter in tables.state_dict()}
        taking.take(name, tables, others.get(name))
        tables.set_group_rows()
    state, source = model.state_dict(), old.model.state_dict()
    if second_head is not None:
        both = {} if is_bundle(checkpoint) else heads_of(read_checkpoint(checkpoint))
        state, source = (state, {**source, **both}) if both else (second_head.served(state), source)
    dense, fresh = _take_dense(state, source, in_tables)
    if not dense and not any(taken > 0 for taken, _ in taking.rows.values()):
        raise ConfigError(
            "No weight of this checkpoint fits the model.",
            where=where,
            expected="a checkpoint of such a model",
            found=f"{checkpoint}: {type(old.model).__name__}",
            remedy="Name a checkpoint of the same kind of model, or leave it out.",
        )
    return Taken(tuple(dense), tuple(fresh), taking.rows, taking.grouped, tuple(taking.moved))


class _Rows:
    """Takes the row of each raw value from the tables of another model."""

    def __init__(self, old: FittedEncodings, dataset: Dataset) -> None:
        self.rows: dict[str, tuple[int, int]] = {}
        self.grouped: dict[str, int] = {}
        self.moved: list[MovedRows] = []
        self._old = old
        self._new = FittedEncodings.load(dataset.root, dataset.manifest.encodings)

    def take(self, module: str, tables: EmbeddingTables, other: EmbeddingTables | None) -> None:
        """Takes the rows of all tables of a module from those of the same name."""
        for table, place in tables.places.items():
            taken = 0
            before = None if other is None else other.places.get(table)
            if other is not None and before is not None and before.width == place.width:
                source = self._sources(table)
                taken = 0 if source is None else self._move(module, table, tables, other, source)
            self.rows[table] = max(self.rows.get(table, (0, 0)), (taken, place.size))

    def _move(
        self, module: str, table: str, tables: EmbeddingTables, other: EmbeddingTables, source: torch.Tensor
    ) -> int:
        """Copies known rows, and those of groups for unknown values; returns the number of known ones."""
        place, before = tables.places[table], other.places[table]
        weight, old = tables.weights[str(place.width)], other.weights[str(place.width)]
        groups = torch.from_numpy(rows_of_groups(self._new, self._old, table).astype(np.int64))
        groups[tables.started.get(table, groups.new_empty(0))] = -1
        groups[source >= 0] = -1
        for origin in (source, groups):
            found = (origin >= 0).nonzero().flatten()
            weight[place.first + found] = old[before.first + origin[found]].to(weight)
        known = (source >= 0).nonzero().flatten()
        name = f"{module}.weights.{place.width}" if module else f"weights.{place.width}"
        self.moved.append(MovedRows(name, place.first + known, before.first + source[known]))
        self.grouped[table] = int((groups >= 0).sum())
        return len(known)

    def _sources(self, table: str) -> torch.Tensor | None:
        """Returns the old row of each new one `[size]` int64, -1 where there is none; None without such a table."""
        if table not in self._old.tables or table not in self._new.tables:
            return None
        return torch.from_numpy(same_rows(self._new.tables[table], self._old.tables[table]).astype(np.int64))


def _take_dense(
    state: Mapping[str, torch.Tensor], old: Mapping[str, torch.Tensor], in_tables: set[str]
) -> tuple[list[str], list[str]]:
    dense, fresh = list[str](), list[str]()
    for name, value in state.items():
        if name in in_tables:
            continue
        if name in old and old[name].shape == value.shape and old[name].dtype == value.dtype:
            value.copy_(old[name])
            dense.append(name)
        else:
            fresh.append(name)
    return dense, fresh
