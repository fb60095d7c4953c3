"""What a field that nobody knows the value of is encoded as."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from distill.batch import FeatureBlock, Ragged
from distill.data.format import Dataset
from distill.schema import MISSING_ID, FieldSpec, Kind


def missing_row(dataset: Dataset, fields: Sequence[FieldSpec]) -> FeatureBlock:
    """Returns one row of missing values, encoded as `prepare` encodes them.

    Args:
        dataset: Knows what missing numbers are filled with.
        fields: Of one side, in schema order.
    """
    fitted = dataset.manifest.encodings.numbers
    fill = [fitted[f.name].fill for f in fields if f.is_number]
    return FeatureBlock(
        ids=torch.full((1, sum(f.is_id for f in fields)), MISSING_ID),
        numbers=torch.tensor([fill], dtype=torch.float32).view(1, len(fill)),
        vectors={f.name: torch.zeros(1, f.width or 0) for f in fields if f.kind is Kind.VECTOR},
        sequences={f.name: Ragged(_no_values(f), torch.zeros(1, dtype=torch.int64)) for f in fields if f.is_sequence},
    )


def _no_values(spec: FieldSpec) -> Tensor:
    """The values of an empty sequence."""
    return torch.zeros(0, spec.width or 0) if spec.has_vectors else torch.zeros(0, dtype=torch.int64)
