"""Lightweight squeeze-and-excitation: one matrix, softmax weights, and a shortcut."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from distill.layers.fields import field_of_column, require_fields


class LightSE(nn.Module):
    """v_i = e_i + a_i e_i with a = softmax(W z + b) and z_i the mean of e_i.

    Fields may have different widths: each is pooled over its own. W starts Xavier-uniform and b at 0.

    Args:
        widths: Field name to width D_i, in the order of the columns.

    Reference: Li et al., "IntTower", CIKM 2022, arXiv:2210.09890, section 3.2.
    """

    def __init__(self, widths: Mapping[str, int]) -> None:
        super().__init__()
        require_fields("LightSE", widths, 1)
        self.out_features = sum(widths.values())
        self.excite = nn.Linear(len(widths), len(widths))
        nn.init.xavier_uniform_(self.excite.weight)
        nn.init.zeros_(self.excite.bias)
        field = field_of_column(widths)
        self.register_buffer("_field", field, persistent=False)
        pooling = functional.one_hot(field, len(widths)) / torch.tensor(list(widths.values()))
        self.register_buffer("_pooling", pooling, persistent=False)

    def weights(self, x: Tensor) -> Tensor:
        """Returns the weight of each field `[B, F]` for `x [B, ΣD]`; they sum to 1."""
        logits: Tensor = self.excite(x @ self.get_buffer("_pooling").to(x.dtype))
        return logits.softmax(1)

    def forward(self, x: Tensor) -> Tensor:
        """Maps `x [B, ΣD]` to `[B, ΣD]`."""
        return x + x * self.weights(x).index_select(1, self.get_buffer("_field"))
