"""Which fields lie where in an encoded row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class FieldLayout:
    """The fields of an encoded row `[B, ΣD]`, in the order of its columns.

    Attributes:
        widths: Field name to width D.
        dense: Names of the fields without embeddings: numbers and vectors.
    """

    widths: Mapping[str, int]
    dense: frozenset[str] = frozenset()

    @property
    def num_columns(self) -> int:
        """ΣD."""
        return sum(self.widths.values())

    def start(self, name: str) -> int:
        """Returns the first column of a field."""
        names = list(self.widths)
        return sum(self.widths[other] for other in names[: names.index(name)])

    def columns(self, names: Sequence[str]) -> Tensor:
        """Returns the columns of some fields, field by field `[ΣD]` int64."""
        starts = {name: self.start(name) for name in names}
        columns = [start + i for name, start in starts.items() for i in range(self.widths[name])]
        return torch.tensor(columns, dtype=torch.int64)

    def select(self, names: Sequence[str]) -> FieldLayout:
        """Returns the layout of some fields, in this order."""
        return FieldLayout({name: self.widths[name] for name in names}, self.dense & frozenset(names))

    def __add__(self, other: FieldLayout) -> FieldLayout:
        """Returns the layout of the two rows side by side."""
        return FieldLayout({**self.widths, **other.widths}, self.dense | other.dense)
