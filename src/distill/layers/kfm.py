"""Kernel factorisation machine: second-order interactions of fields of any widths."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from distill.layers.fields import field_of_column, require_fields
from distill.layers.initial import xavier_uniform_


class KFM(nn.Module):
    """Σ_{i<j} e_iᵀ K_ij e_j with a learned kernel K_ij of D_i × D_j for each pair of fields.

    With K_ij = 1 it is the FM. Kernels start Xavier-uniform, each by its own shape. They are one parameter, spread
    over a block-triangular matrix K, and the sum is xᵀ K x: one matrix product, which is faster than one per field.

    Args:
        widths: Field name to width D_i, in the order of the columns.
    """

    def __init__(self, widths: Mapping[str, int]) -> None:
        super().__init__()
        require_fields("KFM", widths, 2)
        self.in_features, self.out_features = sum(widths.values()), 1
        field = field_of_column(widths)
        place = (field.unsqueeze(1) < field).flatten().nonzero().flatten()
        self.register_buffer("_place", place, persistent=False)
        initial = torch.zeros(self.in_features, self.in_features)
        sizes = list(widths.values())
        for i, rows in enumerate(initial.split_with_sizes(sizes, dim=0)):
            for block in rows.split_with_sizes(sizes, dim=1)[i + 1 :]:
                xavier_uniform_(block, block.shape[0], block.shape[1])
        self.kernels = nn.Parameter(initial.flatten()[place])

    def kernel_matrix(self) -> Tensor:
        """Returns K `[ΣD, ΣD]`: K_ij in rows of field i and columns of field j > i, 0 elsewhere."""
        empty = self.kernels.new_zeros(self.in_features * self.in_features)
        matrix = empty.index_copy(0, self.get_buffer("_place"), self.kernels)
        return matrix.view(self.in_features, self.in_features)

    def forward(self, x: Tensor) -> Tensor:
        """Maps `x [B, ΣD]` to `[B, 1]`."""
        return ((x @ self.kernel_matrix()) * x).sum(1, keepdim=True)
