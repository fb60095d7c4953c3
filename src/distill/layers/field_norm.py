"""Layer normalisation of each field over its own columns."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from distill.layers.fields import field_of_column, require_fields

_EPSILON = 1e-5


class FieldNorm(nn.Module):
    """v_i = γ_i ⊙ (e_i − mean(e_i)) / √(var(e_i) + ε) + β_i, over the columns of field i; γ starts at 1, β at 0.

    Fields may have different widths. A field of one column is γ e + β: normalised over itself a number says nothing.

    Args:
        widths: Field name to width D_i, in the order of the columns.

    Reference: Ba et al., "Layer Normalization", 2016, arXiv:1607.06450, eq. 4, for each field.
    """

    def __init__(self, widths: Mapping[str, int]) -> None:
        super().__init__()
        require_fields("FieldNorm", widths, 1)
        self.out_features = sum(widths.values())
        self.weight = nn.Parameter(torch.ones(self.out_features))
        self.bias = nn.Parameter(torch.zeros(self.out_features))
        field, sizes = field_of_column(widths), torch.tensor(list(widths.values()))
        pooling = functional.one_hot(field, len(widths)) / sizes * (sizes > 1)
        self.register_buffer("_field", field, persistent=False)
        self.register_buffer("_pooling", pooling, persistent=False)
        self.register_buffer("_alone", (sizes == 1).float().index_select(0, field), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Maps `x [B, ΣD]` to `[B, ΣD]`."""
        centred = x - self._mean(x)
        variance = self._mean(centred.square()) + self.get_buffer("_alone")
        return centred * (variance + _EPSILON).rsqrt() * self.weight + self.bias

    def _mean(self, x: Tensor) -> Tensor:
        """Returns the mean of each column's field `[B, ΣD]`; 0 for a field of one column."""
        return (x @ self.get_buffer("_pooling")).index_select(1, self.get_buffer("_field"))
