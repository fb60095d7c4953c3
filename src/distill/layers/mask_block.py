"""MaskNet's block: what a layer reads is scaled, column by column, by a mask that the whole row decides."""

from __future__ import annotations

from torch import Tensor, nn

from distill.errors import ConfigError
from distill.layers.checks import check_sizes


class MaskBlock(nn.Module):
    """h = relu(LN(W (m ⊙ v))) with the mask m = W_2 relu(W_1 x + b_1) + b_2 of the fields x.

    v is the normalised fields, or what another block made of them.

    Args:
        in_features: Width of v and of the mask.
        row_features: ΣD, the width of x.
        out_features: Width of h.
        mask_ratio: r: W_1 x has r · `in_features` columns, rounded down, and at least one.

    Raises:
        ConfigError: The ratio is not positive.

    Reference: Wang et al., "MaskNet: Introducing Feature-Wise Multiplication to CTR Ranking Models by Instance-Guided
    Mask", 2021, arXiv:2102.07619, eq. 5 to 9.
    """

    def __init__(self, in_features: int, row_features: int, out_features: int, mask_ratio: float) -> None:
        super().__init__()
        check_sizes("MaskBlock", {"in_features": in_features, "row": row_features, "out_features": out_features})
        if not mask_ratio > 0:
            raise ConfigError(
                "A mask needs hidden units.", where="mask_ratio", expected="above 0", found=str(mask_ratio)
            )
        self.out_features = out_features
        hidden = max(1, int(mask_ratio * in_features))
        self.mask = nn.Sequential(nn.Linear(row_features, hidden), nn.ReLU(), nn.Linear(hidden, in_features))
        self.map = nn.Linear(in_features, out_features, bias=False)
        self.norm = nn.LayerNorm(out_features)

    def forward(self, v: Tensor, x: Tensor) -> Tensor:
        """Maps `v [B, in_features]`, with the fields `x [B, ΣD]`, to `[B, out_features]`."""
        hidden: Tensor = self.norm(self.map(self.mask(x) * v))
        return hidden.relu()
