"""Squeeze-and-excitation over fields: each field is scaled by a weight that all fields decide."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from distill.errors import ConfigError
from distill.layers.checks import check_sizes
from distill.layers.fields import field_of_column, require_fields

Excitation = Literal["relu", "sigmoid"]


class SENet(nn.Module):
    """v_i = a_i e_i with a = σ(W_2 relu(W_1 z)) and z_i the mean of e_i.

    Fields may have different widths: each is pooled over its own. W_1 and W_2 have no bias, as in the paper, and start
    Xavier-uniform, which the paper leaves open.

    Args:
        widths: Field name to width D_i, in the order of the columns.
        reduction_ratio: r; the hidden layer has max(1, F // r) units.
        excitation: σ, `relu` (FiBiNET) or `sigmoid` (Hu et al.).

    Reference: Huang et al., "FiBiNET", 2019, arXiv:1905.09433, eq. 2 to 4; Hu et al., "Squeeze-and-Excitation
    Networks", 2018, arXiv:1709.01507, eq. 3.
    """

    def __init__(self, widths: Mapping[str, int], reduction_ratio: int, excitation: Excitation) -> None:
        super().__init__()
        require_fields("SENet", widths, 1)
        check_sizes("SENet", {"reduction_ratio": reduction_ratio})
        if excitation not in ("relu", "sigmoid"):
            raise ConfigError("Unknown excitation of SENet.", expected="relu or sigmoid", found=str(excitation))
        self.excitation = excitation
        self.num_fields, self.out_features = len(widths), sum(widths.values())
        reduced = max(1, self.num_fields // reduction_ratio)
        self.squeeze = nn.Linear(self.num_fields, reduced, bias=False)
        self.excite = nn.Linear(reduced, self.num_fields, bias=False)
        nn.init.xavier_uniform_(self.squeeze.weight)
        nn.init.xavier_uniform_(self.excite.weight)
        self._width = next(iter(widths.values())) if len(set(widths.values())) == 1 else None
        field = field_of_column(widths)
        pooling = functional.one_hot(field, self.num_fields) / torch.tensor(list(widths.values()))
        self.register_buffer("_field", field, persistent=False)
        self.register_buffer("_pooling", pooling, persistent=False)

    def weights(self, x: Tensor) -> Tensor:
        """Returns the weight of each field `[B, F]` for `x [B, ΣD]`."""
        pooled = x @ self.get_buffer("_pooling") if self._width is None else self._fields(x, self._width).mean(2)
        excited: Tensor = self.excite(self.squeeze(pooled).relu())
        return excited.relu() if self.excitation == "relu" else excited.sigmoid()

    def forward(self, x: Tensor) -> Tensor:
        """Maps `x [B, ΣD]` to `[B, ΣD]`."""
        weights = self.weights(x)
        if self._width is None:
            return x * weights.index_select(1, self.get_buffer("_field"))
        return (self._fields(x, self._width) * weights.unsqueeze(2)).flatten(1)

    def _fields(self, x: Tensor, width: int) -> Tensor:
        return torch.unflatten(x, 1, (self.num_fields, width))
