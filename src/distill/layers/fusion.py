"""Attention fusion of towers: the channels of a side become one vector."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from distill.layers.fields import common_width


class AttentionFusion(nn.Module):
    """Σ_m a_m c_m with a = softmax(W [c_1 … c_M] + b) over the channels of a row.

    W and b start at 0, so that the fusion starts as the mean of the channels.

    Args:
        widths: Channel name to width; all D.

    Reference: Liu et al., "Que2Search", KDD 2021, section 3.2 (attention fusion of channel representations).
    """

    def __init__(self, widths: Mapping[str, int]) -> None:
        super().__init__()
        self.num_channels, self.width = len(widths), common_width("AttentionFusion", widths)
        self.out_features = self.width
        self.attention = nn.Linear(self.num_channels * self.width, self.num_channels)
        nn.init.zeros_(self.attention.weight)
        nn.init.zeros_(self.attention.bias)

    def weights(self, x: Tensor) -> Tensor:
        """Returns the weight of each channel `[B, M]` for `x [B, M·D]`; they sum to 1."""
        logits: Tensor = self.attention(x)
        return logits.softmax(1)

    def forward(self, x: Tensor) -> Tensor:
        """Maps the channels side by side, `x [B, M·D]`, to `[B, D]`."""
        channels = torch.unflatten(x, 1, (self.num_channels, self.width))
        return (self.weights(x).unsqueeze(1) @ channels).squeeze(1)
