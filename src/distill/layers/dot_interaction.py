"""The dot products of all pairs of fields, as in DLRM."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from distill.layers.fields import common_width, require_fields


class DotInteraction(nn.Module):
    """⟨e_i, e_j⟩ for every i > j: the lower triangle of E Eᵀ without its diagonal, row by row. No weights.

    DLRM counts the output of its bottom MLP among the fields, and puts it beside the products.

    Args:
        widths: Field name to width; all D.

    Reference: Naumov et al., "Deep Learning Recommendation Model", 2019, arXiv:1906.00091, section 2.1.

    >>> DotInteraction({"user": 2, "item": 2})(torch.tensor([[1.0, 2.0, 3.0, 4.0]]))
    tensor([[11.]])
    """

    def __init__(self, widths: Mapping[str, int]) -> None:
        super().__init__()
        require_fields("DotInteraction", widths, 2)
        self.num_fields, self.width = len(widths), common_width("DotInteraction", widths)
        self.out_features = self.num_fields * (self.num_fields - 1) // 2
        row, column = torch.tril_indices(self.num_fields, self.num_fields, -1)
        self.register_buffer("_place", row * self.num_fields + column, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Maps `x [B, F·D]` to `[B, F(F − 1)/2]`."""
        fields = torch.unflatten(x, 1, (self.num_fields, self.width))
        products = torch.bmm(fields, fields.transpose(1, 2))
        return products.flatten(1).index_select(1, self.get_buffer("_place"))
