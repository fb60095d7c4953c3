"""Which row of one embedding table stands for the raw value that a row of another stands for."""

from __future__ import annotations

import numpy as np
import pyarrow.compute as pc

from distill.encodings.arrow import Int64
from distill.encodings.fitted import FittedEncodings
from distill.encodings.tables import FittedHash, FittedIds, FittedQuantiles, FittedVocabulary, TableEncoder
from distill.schema import NUM_RESERVED


def same_rows(new: TableEncoder, old: TableEncoder) -> Int64:
    """Finds each row of a new table in an old one.

    Args:
        new: Encoding of the new table.
        old: Encoding of the old one.

    Returns:
        `[new.size]`: the old row, -1 where there is none. The reserved rows are each other's; of hash buckets and
        quantiles the rows are the same only if all of them are. Groups are of no raw value: see `rows_of_groups`.
    """
    found: Int64 = np.full(new.size, -1, np.int64)
    found[:NUM_RESERVED] = np.arange(NUM_RESERVED)
    if isinstance(new, FittedVocabulary) and isinstance(old, FittedVocabulary):
        if new.kind == old.kind and len(old.values):
            place = pc.index_in(new.values, value_set=old.values)
            known = place.is_valid().to_numpy(zero_copy_only=False)
            found[NUM_RESERVED : new.first_group][known] = (
                place.drop_null().to_numpy(zero_copy_only=False) + NUM_RESERVED
            )
    elif isinstance(new, FittedIds) and isinstance(old, FittedIds):
        both = min(new.size, old.size)
        found[:both] = np.arange(both)
    elif _equal(new, old):
        found[:] = np.arange(new.size)
    return found


def rows_of_groups(new: FittedEncodings, old: FittedEncodings, name: str) -> Int64:
    """Finds, for each row of a new table, the row of its group in the old one.

    Args:
        new: Encodings with the new table.
        old: Encodings with the old one.
        name: Of the table.

    Returns:
        `[size]`: of a value the row of the smallest group that it belonged to under the old encodings, of a group the
        row of the same; -1 where there is none, or where either of the two has no groups.
    """
    table, other = new.tables[name], old.tables[name]
    found: Int64 = np.full(table.size, -1, np.int64)
    if not isinstance(table, FittedVocabulary) or not isinstance(other, FittedVocabulary):
        return found
    groups, before = table.groups, other.groups
    if groups is None or before is None or groups.by != before.by:
        return found
    columns = [same_rows(new.tables[by], old.tables[by]) for by in groups.by]
    ids = np.concatenate([groups.of_value.astype(np.int64), groups.keys])
    translated = np.stack([column[ids[:, i]] for i, column in enumerate(columns)], axis=1)
    group = before.find(translated)
    found[NUM_RESERVED:] = np.where(group >= 0, other.first_group + group, -1)
    return found


def _equal(new: TableEncoder, old: TableEncoder) -> bool:
    if isinstance(new, FittedHash) and isinstance(old, FittedHash):
        return new == old
    if isinstance(new, FittedQuantiles) and isinstance(old, FittedQuantiles):
        return new.buckets == old.buckets and np.array_equal(new.boundaries, old.boundaries)
    return False
