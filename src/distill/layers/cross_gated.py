"""Gated cross network of GDCN: each cross is let through column by column."""

from __future__ import annotations

from torch import Tensor, nn

from distill.layers.checks import check_sizes


class GatedCrossNet(nn.Module):
    """Cross layers x_{l+1} = x_0 ⊙ (W_l x_l + b_l) ⊙ σ(V_l x_l) + x_l.

    Args:
        in_features: Width D of the input and of the output.
        num_layers: Number of layers; layer l holds crosses of degree up to l + 1, before the gates.

    Reference: Wang et al., "Towards Deeper, Lighter and Interpretable Cross Network for CTR Prediction", 2023,
    arXiv:2311.04635, section 3.2 (gated cross layer).
    """

    def __init__(self, in_features: int, num_layers: int) -> None:
        super().__init__()
        check_sizes("GatedCrossNet", {"in_features": in_features})
        self.out_features = in_features
        self.crosses = nn.ModuleList(nn.Linear(in_features, in_features) for _ in range(num_layers))
        self.gates = nn.ModuleList(nn.Linear(in_features, in_features, bias=False) for _ in range(num_layers))

    def forward(self, x: Tensor) -> Tensor:
        """Maps `x [B, D]` to `[B, D]`."""
        crossed = x
        for cross, gate in zip(self.crosses, self.gates, strict=True):
            crossed = x * cross(crossed) * gate(crossed).sigmoid() + crossed
        return crossed
