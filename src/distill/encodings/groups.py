"""Groups of the known values of a table: what stands for a value that the table does not know."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from distill.encodings.arrow import Bool, Int64
from distill.schema import NUM_RESERVED, OOV_ID

Int32 = npt.NDArray[np.int32]
_NONE = -1


@dataclass(frozen=True)
class _Level:
    """The different prefixes of one length.

    Attributes:
        keys: Of each: the number of the shorter prefix, and the last id, as one number; ascending.
        group: Number of the group of each, -1 where it has too few values.
        first: A value of each.
    """

    keys: Int64
    group: Int64
    first: Int64

    def find(self, parents: Int64, ids: Int64) -> Int64:
        """Returns the number of each prefix, -1 where it or a shorter one is unknown."""
        known: Bool = (parents >= 0) & (ids > OOV_ID)
        wanted = _joined(parents, ids)
        place = np.minimum(np.searchsorted(self.keys, wanted), max(0, len(self.keys) - 1))
        if len(self.keys) == 0:
            return np.full(len(ids), _NONE, np.int64)
        return np.where(known & (self.keys[place] == wanted), place, _NONE)


def _joined(parents: Int64, ids: Int64) -> Int64:
    joined: Int64 = (parents << np.int64(32)) | ids
    return joined


@dataclass(frozen=True)
class FittedGroups:
    """Groups of V known values: those that agree in their first id, in their first two, …

    Attributes:
        by: Names of the tables that the ids are of, coarse ones first; L of them.
        min_ids: Fewest values of a group.
        of_value: `[V, L]` ids of each value: its own in the training split, 0 or 1 where they were not known.
    """

    by: tuple[str, ...]
    min_ids: int
    of_value: Int32

    @property
    def count(self) -> int:
        """Number of groups G."""
        return len(self.keys)

    @cached_property
    def keys(self) -> Int64:
        """The ids that the values of each group agree in `[G, L]`, 0 behind them; short ones first."""
        parts = [np.zeros((0, len(self.by)), np.int64)]
        for length, level in enumerate(self._levels, 1):
            part = self.of_value[level.first[level.group >= 0]].astype(np.int64)
            part[:, length:] = 0
            parts.append(part)
        return np.concatenate(parts)

    @cached_property
    def members(self) -> Int64:
        """The groups of each value `[V, L]`, -1 where there is none."""
        return self._groups(self.of_value)

    def find(self, ids: npt.NDArray[np.integer]) -> Int64:
        """Returns the smallest known group of rows with such ids `[n, L]`, -1 where there is none `[n]`."""
        found = np.full(len(ids), _NONE, np.int64)
        for group in self._groups(ids).T:
            found = np.where(group >= 0, group, found)
        return found

    def _groups(self, ids: npt.NDArray[np.integer]) -> Int64:
        parents = np.zeros(len(ids), np.int64)
        found = np.full((len(ids), len(self.by)), _NONE, np.int64)
        for column, level in enumerate(self._levels):
            parents = level.find(parents, ids[:, column].astype(np.int64))
            known = parents >= 0
            found[known, column] = level.group[parents[known]]
        return found

    @cached_property
    def _levels(self) -> list[_Level]:
        levels, count = list[_Level](), 0
        rows = np.arange(len(self.of_value))
        parents = np.zeros(len(rows), np.int64)
        for column in range(len(self.by)):
            ids = self.of_value[rows, column].astype(np.int64)
            rows, parents, ids = (part[ids > OOV_ID] for part in (rows, parents, ids))
            keys, first, parents, sizes = np.unique(
                _joined(parents, ids), return_index=True, return_inverse=True, return_counts=True
            )
            enough = sizes >= self.min_ids
            group = np.where(enough, count + np.cumsum(enough) - 1, _NONE)
            count += int(enough.sum())
            levels.append(_Level(keys, group, rows[first]))
        return levels


def group_table(groups: FittedGroups) -> Int32:
    """Returns the ids of the groups that each id of a table belongs to `[S, L]`, 0 where there is none.

    The table has the reserved ids, V values, and G groups behind them.
    """
    count = len(groups.of_value)
    table = np.zeros((NUM_RESERVED + count + groups.count, len(groups.by)), np.int32)
    members = groups.members
    table[NUM_RESERVED : NUM_RESERVED + count] = np.where(members >= 0, members + NUM_RESERVED + count, 0)
    return table
