"""Vectors of the numbers of one side that models embed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from typing_extensions import Self

from distill.errors import SchemaError
from distill.layers.number_embedding import AutoDisEmbedding, PiecewiseLinearEmbedding
from distill.schema import MISSING_NUMBER, FieldSpec
from distill.schema.encoding import LARGEST_EMBEDDED, AutoDis

_MISSING_BELOW = (MISSING_NUMBER - LARGEST_EMBEDDED) / 2


class NumberEmbeddings(nn.Module):
    """Embeds numbers, those of one encoding and width at a time; a missing number has a vector of its own.

    Args:
        fields: All number fields of the side, in schema order, at least one of which is embedded.
        embedding_dim: Width of fields that do not name their own.
        init_std: Standard deviation of the initial vectors.

    Attributes:
        widths: Field name to width, in the order of the columns that come out.

    Raises:
        SchemaError: A field does not know how many bins it has.
    """

    def __init__(self, fields: Sequence[FieldSpec], embedding_dim: int, init_std: float) -> None:
        super().__init__()
        groups: dict[tuple[object, int], list[FieldSpec]] = {}
        for spec in fields:
            if spec.is_embedded_number:
                kind = spec.encoding if isinstance(spec.encoding, AutoDis) else spec.encoding.type
                groups.setdefault((kind, spec.embedding_dim or embedding_dim), []).append(spec)
        self.widths: Mapping[str, int] = {f.name: width for (_, width), members in groups.items() for f in members}
        self.layers = nn.ModuleList(_layer(members, width, init_std) for (_, width), members in groups.items())
        vectors = {f"of_{name}": nn.Parameter(torch.randn(width) * init_std) for name, width in self.widths.items()}
        self.missing = nn.ParameterDict(vectors)
        self._members = [[f"of_{f.name}" for f in members] for members in groups.values()]
        names = [f.name for f in fields]
        for i, members in enumerate(groups.values()):
            columns = torch.tensor([names.index(f.name) for f in members])
            self.register_buffer(f"_columns_{i}", columns, persistent=False)

    @classmethod
    def of(cls, fields: Sequence[FieldSpec], embedding_dim: int, init_std: float) -> Self | None:
        """Builds it for the fields of a side; None if none of them is an embedded number."""
        numbers = [f for f in fields if f.is_number]
        return cls(numbers, embedding_dim, init_std) if any(f.is_embedded_number for f in numbers) else None

    def forward(self, numbers: Tensor) -> Tensor:
        """Embeds the numbers of a side `[B, M]` as `[B, ΣD]`."""
        parts = []
        for i, (layer, members) in enumerate(zip(self.layers, self._members, strict=True)):
            x = numbers.index_select(1, self.get_buffer(f"_columns_{i}"))
            is_missing = x < _MISSING_BELOW
            known = layer(torch.where(is_missing, torch.zeros_like(x), x))
            vectors = torch.stack([self.missing[key] for key in members])
            parts.append(torch.where(is_missing.unsqueeze(2), vectors, known).flatten(1))
        return torch.cat(parts, dim=1)


def _layer(fields: Sequence[FieldSpec], width: int, init_std: float) -> nn.Module:
    encoding = fields[0].encoding
    if isinstance(encoding, AutoDis):
        names = [f.name for f in fields]
        return AutoDisEmbedding(names, encoding.buckets, width, init_std, encoding.temperature, encoding.skip)
    bins = {f.name: f.size for f in fields if f.size is not None}
    for spec in fields:
        if spec.name not in bins:
            raise SchemaError(
                "The schema is not prepared: a field does not know how many bins it has.",
                where=f"field {spec.name}",
                remedy="Build models from the schema.yaml that `prepare` wrote.",
            )
    return PiecewiseLinearEmbedding(bins, width, init_std)
