"""Rows of groups: the mean of the rows of their members, which stands for an id that was not there in training."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from distill.features.lookup import bag_mean
from distill.schema import Schema


class TableGroups(nn.Module):
    """The groups of the ids of some tables, as a checkpoint holds them; none of a schema without `cold` fields.

    Args:
        schema: Prepared schema.
    """

    def __init__(self, schema: Schema) -> None:
        super().__init__()
        self.tables = {f.table: len(f.cold.by) for f in schema.fields if f.cold is not None}
        sizes = {f.table: f.size or 0 for f in schema.fields}
        for index, (table, levels) in enumerate(self.tables.items()):
            self.register_buffer(f"of_{index}", torch.zeros((sizes[table], levels), dtype=torch.int32))

    def items(self) -> Iterator[tuple[str, Tensor]]:
        """Yields tables and the groups of each id `[S, L]` (ids of the table, 0 where there is none)."""
        for index, table in enumerate(self.tables):
            yield table, self.get_buffer(f"of_{index}")

    def tell(self, groups: Mapping[str, Tensor]) -> None:
        """Says what the groups are.

        Args:
            groups: Table to the groups of each id `[S, L]`.
        """
        for table, of in self.items():
            of.copy_(groups[table])


@torch.no_grad()
def set_group_rows(rows: Tensor, of: Tensor) -> None:
    """Sets the row of each group to the mean of the rows of its members, added up in the order of their ids.

    Args:
        rows: Of a table `[S, D]`; changed in place.
        of: Groups of each id `[S, L]`, 0 where there is none.
    """
    group = of.flatten().long()
    member = torch.arange(of.shape[0], device=of.device).repeat_interleave(of.shape[1])
    member, group = member[group > 0], group[group > 0]
    if group.shape[0] == 0:
        return
    order = group.argsort(stable=True)
    ids, sizes = torch.unique_consecutive(group[order], return_counts=True)
    starts = sizes.cumsum(0) - sizes
    rows[ids] = bag_mean(rows.detach(), member[order], starts).to(rows.dtype)


def is_group(of: Tensor) -> Tensor:
    """Says which ids of a table are groups `[S]` bool."""
    found = torch.zeros(of.shape[0], dtype=torch.bool, device=of.device)
    found[of.flatten().long()] = True
    found[0] = False
    return found
