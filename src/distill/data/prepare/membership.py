"""Which group each value of an id field belongs to, in the training split."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from distill.encodings import FittedEncodings
from distill.encodings.arrow import Bool, combine
from distill.encodings.groups import FittedGroups, Int32
from distill.encodings.place import Place
from distill.encodings.same_rows import same_rows
from distill.encodings.tables import FittedVocabulary, ValueKind

_ROWS = 1 << 20


class PairCounter:
    """Counts which values of other fields the values of a field come with; memory is bounded by the different rows.

    Args:
        kinds: Type of the field's values, and of those of each other field.
    """

    def __init__(self, kinds: Sequence[ValueKind]) -> None:
        self._types = [pa.string() if kind == "string" else pa.int64() for kind in kinds]
        self._names = ["value", *(f"by_{i}" for i in range(len(kinds) - 1))]
        self._merged = pa.table({name: pa.array([], t) for name, t in zip(self._names, self._types, strict=True)})
        self._merged = self._merged.append_column("count", pa.array([], pa.int64()))
        self._pending: list[pa.Table] = []
        self._pending_rows = 0

    def add(self, columns: Sequence[pa.Array], keep: Bool) -> None:
        """Counts the rows of columns of ids `[n]` where `keep [n]`; rows without a value of the field are left out."""
        kept = pa.array(keep & columns[0].is_valid().to_numpy(zero_copy_only=False))
        plain = [_as(column.filter(kept), kind) for column, kind in zip(columns, self._types, strict=True)]
        rows = pa.table(dict(zip(self._names, plain, strict=True)))
        self._append(self._counted(rows.append_column("count", pa.array(np.ones(len(rows), np.int64)))))

    def _append(self, counted: pa.Table) -> None:
        self._pending.append(counted)
        self._pending_rows += len(counted)
        if self._pending_rows > max(_ROWS, 2 * len(self._merged)):
            self._merge()

    def absorb(self, other: PairCounter) -> None:
        """Counts what another one counted."""
        other._merge()
        self._append(other._merged)

    def __getstate__(self) -> dict[str, Any]:
        """Sends each row once: not what is still to be merged."""
        self._merge()
        return self.__dict__

    def result(self) -> pa.Table:
        """Returns `value`, `by_0`, …: each value once, with what it came with most often (of equals the least)."""
        self._merge()
        order = [("value", "ascending"), ("count", "descending")]
        order += [(name, "ascending") for name in self._names[1:]]
        ordered = self._merged.take(pc.sort_indices(self._merged, sort_keys=order))
        values = combine(ordered["value"])
        if len(values) == 0:
            return ordered.select(self._names)
        first = np.append(True, pc.not_equal(values[1:], values[:-1]).to_numpy(zero_copy_only=False))
        return ordered.filter(pa.array(first)).select(self._names)

    def _merge(self) -> None:
        if self._pending:
            self._merged = self._counted(pa.concat_tables([self._merged, *self._pending]))
            self._pending, self._pending_rows = [], 0

    def _counted(self, rows: pa.Table) -> pa.Table:
        counted = rows.group_by(self._names, use_threads=False).aggregate([("count", "sum")])
        return counted.rename_columns({"count_sum": "count"}).select([*self._names, "count"]).combine_chunks()


def _as(column: pa.Array, kind: pa.DataType) -> pa.Array:
    return column if column.type == kind else column.cast(kind)


def with_members(
    encodings: FittedEncodings, name: str, by: Sequence[str], min_ids: int, seen: pa.Table
) -> FittedVocabulary:
    """Returns a vocabulary with the groups of its values.

    Args:
        encodings: Fitted, without the groups.
        name: Table of the vocabulary.
        by: Tables of the ids that make the groups.
        min_ids: Fewest values of a group.
        seen: From `PairCounter`.
    """
    vocabulary = encodings.tables[name]
    assert isinstance(vocabulary, FittedVocabulary)
    rows = pc.index_in(vocabulary.values, value_set=combine(seen["value"]))
    columns = []
    for position, table in enumerate(by):
        column = combine(seen[f"by_{position}"])
        columns.append(encodings.tables[table].encode(column, Place(f"by_{position}", f"table {table!r}"), "error"))
    ids: Int32 = np.stack(columns, axis=1) if len(seen) else np.zeros((0, len(by)), np.int32)
    known = rows.is_valid().to_numpy(zero_copy_only=False)
    of_value = np.zeros((len(vocabulary.values), len(by)), np.int32)
    of_value[known] = ids[rows.drop_null().to_numpy(zero_copy_only=False)]
    return replace(vocabulary, groups=FittedGroups(tuple(by), min_ids, of_value))


def grown_members(grown: FittedEncodings, old: FittedEncodings, fresh: FittedEncodings, name: str) -> FittedVocabulary:
    """Returns a grown vocabulary with the groups of its values: those of the new data where it has a value.

    Args:
        grown: Encodings that have grown, with the old groups.
        old: Encodings before.
        fresh: What the new data was fitted to.
        name: Table of the vocabulary.
    """
    vocabulary, before, new = grown.tables[name], old.tables[name], fresh.tables[name]
    assert isinstance(vocabulary, FittedVocabulary)
    assert isinstance(before, FittedVocabulary)
    assert isinstance(new, FittedVocabulary)
    assert before.groups is not None
    assert new.groups is not None
    of_value = np.zeros((len(vocabulary.values), len(before.groups.by)), np.int32)
    of_value[: len(before.values)] = before.groups.of_value
    if before.kind != new.kind:
        return replace(vocabulary, groups=replace(before.groups, of_value=of_value))
    place = pc.index_in(vocabulary.values, value_set=new.values)
    found = place.is_valid().to_numpy(zero_copy_only=False)
    ids = new.groups.of_value[place.drop_null().to_numpy(zero_copy_only=False)]
    for column, table in enumerate(before.groups.by):
        row = same_rows(fresh.tables[table], grown.tables[table])[ids[:, column]]
        of_value[found, column] = np.maximum(row, 0)
    return replace(vocabulary, groups=replace(before.groups, of_value=of_value))
