"""Brings fields of different widths to one width."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from distill.layers.checks import check_sizes
from distill.layers.fields import require_fields
from distill.layers.initial import xavier_uniform_


class FieldProjection(nn.Module):
    """Maps each field to one width, e_i ← e_i W_i; fields that have this width already stay as they are.

    A number x becomes x·w_i, the embedding of a numeric field in AutoInt. No bias. W_i starts Xavier-uniform.

    Args:
        widths: Field name to width D_i, in the order of the columns.
        width: Width D of every field of the output.

    Attributes:
        widths: Field name to width of the output.

    Reference: Song et al., "AutoInt", 2019, arXiv:1810.11921, eq. 4 (numbers).
    """

    def __init__(self, widths: Mapping[str, int], width: int) -> None:
        super().__init__()
        require_fields("FieldProjection", widths, 1)
        check_sizes("FieldProjection", {"width": width})
        self.widths = dict.fromkeys(widths, width)
        self.width, self.out_features = width, width * len(widths)
        self._groups, columns, order = _group_columns(widths)
        self.weights = nn.ParameterDict()
        for own, count in self._groups:
            if own != width:
                weight = nn.Parameter(torch.empty(count, own, width))
                xavier_uniform_(weight, own, width)
                self.weights[str(own)] = weight
        self.register_buffer("_columns", torch.tensor(columns), persistent=False)
        self.register_buffer("_order", torch.tensor(order), persistent=False)
        self._sorted = columns == sorted(columns)

    def forward(self, x: Tensor) -> Tensor:
        """Maps `x [B, ΣD_i]` to `[B, F·D]`."""
        if not self._sorted:
            x = x.index_select(1, self.get_buffer("_columns"))
        parts = []
        blocks = x.split_with_sizes([own * count for own, count in self._groups], dim=1)
        for (own, count), part in zip(self._groups, blocks, strict=True):
            fields = torch.unflatten(part, 1, (count, own))
            parts.append(fields if own == self.width else torch.einsum("bfi,fio->bfo", fields, self.weights[str(own)]))
        projected = torch.cat(parts, dim=1)
        if not self._sorted:
            projected = projected.index_select(1, self.get_buffer("_order"))
        return projected.flatten(1)


def _group_columns(widths: Mapping[str, int]) -> tuple[list[tuple[int, int]], list[int], list[int]]:
    """Groups fields by width: (width, count) of each group, columns by group, and each field's place in the groups."""
    starts, start = [], 0
    for width in widths.values():
        starts.append(start)
        start += width
    sizes = list(widths.values())
    distinct = sorted(set(sizes), key=sizes.index)
    members = [i for width in distinct for i in range(len(sizes)) if sizes[i] == width]
    columns = [column for i in members for column in range(starts[i], starts[i] + sizes[i])]
    groups = [(width, sizes.count(width)) for width in distinct]
    order = sorted(range(len(members)), key=members.__getitem__)
    return groups, columns, order
