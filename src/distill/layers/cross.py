"""Cross network of DCN v2: explicit feature crosses of bounded degree."""

from __future__ import annotations

from torch import Tensor, nn

from distill.layers.checks import check_sizes


class CrossNetV2(nn.Module):
    """Cross layers x_{l+1} = x_0 ⊙ (W_l x_l + b_l) + x_l, with W_l full or of low rank, W_l = U_l V_lᵀ.

    Args:
        in_features: Width D of the input and of the output.
        num_layers: Number of layers; layer l holds crosses of degree up to l + 1.
        rank: Rank of W_l; full if not given.

    Mixtures of low-rank matrices: `CrossNetV2Mixture`.

    Reference: Wang et al., "DCN V2", 2021, arXiv:2008.13535, eq. 1 and 2.

    >>> CrossNetV2(8, num_layers=2)(torch.zeros(4, 8)).shape
    torch.Size([4, 8])
    """

    def __init__(self, in_features: int, num_layers: int, rank: int | None = None) -> None:
        super().__init__()
        check_sizes("CrossNetV2", {"in_features": in_features} if rank is None else {"rank": rank})
        self.out_features = in_features
        self.layers = nn.ModuleList(
            nn.Linear(in_features, in_features)
            if rank is None
            else nn.Sequential(nn.Linear(in_features, rank, bias=False), nn.Linear(rank, in_features))
            for _ in range(num_layers)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Maps `x [B, D]` to `[B, D]`."""
        crossed = x
        for layer in self.layers:
            crossed = x * layer(crossed) + crossed
        return crossed
