"""The values of sequences as models read them: rows of tables, or linear images of vectors that the data holds."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from distill.batch import Ragged
from distill.features.lookup import bag_mean
from distill.features.tables import EmbeddingTables
from distill.layers.ragged import padded_mean
from distill.schema import FieldSpec


class SequenceValues(nn.Module):
    """Gives the values of sequences vectors of one width per field: `tables.rows` of ids, `A h + b` of vectors h.

    Args:
        fields: The sequences.
        tables: Of the model; they are not kept, so that a model holds them once.
    """

    def __init__(self, fields: Sequence[FieldSpec], tables: EmbeddingTables) -> None:
        super().__init__()
        of_vectors = {f.name: (f.width or 0, tables.width(f)) for f in fields if f.has_vectors}
        self.maps = nn.ModuleDict({name: nn.Linear(*sizes) for name, sizes in of_vectors.items()})

    def rows(self, tables: EmbeddingTables, spec: FieldSpec, ragged: Ragged) -> Tensor:
        """Returns the vectors of all values `[sum(lengths), D]`; of padded sequences `[B, L, D]`."""
        if spec.name in self.maps:
            mapped: Tensor = self.maps[spec.name](ragged.values)
            return mapped
        return tables.rows(tables.width(spec), ragged.values + tables.offset(spec))

    def mean(self, tables: EmbeddingTables, spec: FieldSpec, ragged: Ragged) -> Tensor:
        """Returns the mean over each sequence `[B, D]`; 0 for an empty one."""
        if spec.name not in self.maps:
            return tables.mean(tables.width(spec), ragged.values + tables.offset(spec), ragged.lengths)
        mapped: Tensor = self.maps[spec.name](_mean(ragged.values, ragged.lengths))  # that of the mean is the mean
        return torch.where((ragged.lengths > 0).unsqueeze(1), mapped, 0.0)


def _mean(values: Tensor, lengths: Tensor) -> Tensor:
    if values.dim() == 3:
        return padded_mean(values, lengths)
    return bag_mean(values, torch.arange(values.shape[0], device=values.device), lengths.cumsum(0) - lengths)
