"""Factorisation machine: the second-order interactions of fields of one width."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from distill.layers.fields import common_width, require_fields


class BiInteraction(nn.Module):
    """Σ_{i<j} e_i ⊙ e_j = ½ [(Σ e_i)² − Σ e_i²], elementwise. No weights.

    Args:
        widths: Field name to width; all D.

    Reference: He and Chua, "Neural Factorization Machines", 2017, arXiv:1708.05027, eq. 4.
    """

    def __init__(self, widths: Mapping[str, int]) -> None:
        super().__init__()
        require_fields(type(self).__name__, widths, 2)
        self.num_fields, self.width = len(widths), common_width(type(self).__name__, widths)
        self.out_features = self.width

    def forward(self, x: Tensor) -> Tensor:
        """Maps `x [B, F·D]` to `[B, D]`."""
        fields = torch.unflatten(x, 1, (self.num_fields, self.width))
        return 0.5 * (fields.sum(1).square() - fields.square().sum(1))


class FM(BiInteraction):
    """Σ_{i<j} ⟨e_i, e_j⟩. No weights.

    Args:
        widths: Field name to width; all D.

    Reference: Rendle, "Factorization Machines", 2010, eq. 1 (second order); Guo et al., "DeepFM", 2017,
    arXiv:1703.04247, eq. 2.
    """

    def __init__(self, widths: Mapping[str, int]) -> None:
        super().__init__(widths)
        self.out_features = 1

    def forward(self, x: Tensor) -> Tensor:
        """Maps `x [B, F·D]` to `[B, 1]`."""
        return super().forward(x).sum(1, keepdim=True)
