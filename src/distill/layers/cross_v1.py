"""Cross network of DCN (v1): explicit feature crosses by one vector a layer."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class CrossNetV1(nn.Module):
    """Cross layers x_{l+1} = x_0 (x_lᵀ w_l) + b_l + x_l.

    w_l starts Xavier-uniform (as a matrix to one unit) and b_l at 0; the paper leaves it open.

    Args:
        in_features: Width D of the input and of the output.
        num_layers: Number of layers; layer l holds crosses of degree up to l + 1.

    Reference: Wang et al., "Deep & Cross Network for Ad Click Predictions", 2017, arXiv:1708.05123, eq. 3.
    """

    def __init__(self, in_features: int, num_layers: int) -> None:
        super().__init__()
        self.out_features = in_features
        self.weights = nn.ParameterList(torch.empty(in_features, 1) for _ in range(num_layers))
        self.biases = nn.ParameterList(torch.zeros(in_features) for _ in range(num_layers))
        for weight in self.weights:
            nn.init.xavier_uniform_(weight)

    def forward(self, x: Tensor) -> Tensor:
        """Maps `x [B, D]` to `[B, D]`."""
        crossed = x
        for weight, bias in zip(self.weights, self.biases, strict=True):
            crossed = x * (crossed @ weight) + bias + crossed
        return crossed
