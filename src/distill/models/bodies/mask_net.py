"""MaskNet: blocks that scale what they read by a mask of all fields, side by side or one behind another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from distill.errors import ConfigError
from distill.features import FieldLayout
from distill.layers.checks import check_layers
from distill.layers.field_norm import FieldNorm
from distill.layers.mask_block import MaskBlock
from distill.layers.mlp import MLP, Norm
from distill.models.bodies.base import Body


class MaskNet(Body):
    """MLP([block_1(LN(x)), …, block_u(LN(x))]) (parallel), or MLP(block_u(… block_1(LN(x)))) (serial).

    Every block's mask is of the fields x themselves. Deviation: fields of one column, such as numbers, are not
    normalised (see `FieldNorm`).

    Args:
        layout: The fields, of any widths.
        structure: `parallel` or `serial`.
        block_units: Width of each block.
        mask_ratio: Hidden units of a mask for each column that it scales.
        hidden_units: Widths of the MLP behind the blocks; none leaves it out, as the paper does where they are serial.
        dropout: Of the MLP.
        norm: Normalisation of the MLP's layers.

    Raises:
        ConfigError: The structure is unknown, or there is no block.

    Reference: Wang et al., "MaskNet", 2021, arXiv:2102.07619, section 3.4.
    """

    def __init__(
        self,
        layout: FieldLayout,
        structure: Literal["parallel", "serial"],
        block_units: Sequence[int],
        mask_ratio: float,
        hidden_units: Sequence[int],
        dropout: float,
        norm: Norm = "none",
    ) -> None:
        super().__init__()
        if structure not in ("parallel", "serial"):
            raise ConfigError("Unknown structure of MaskNet.", expected="parallel or serial", found=str(structure))
        check_layers("MaskNet", "block_units", block_units)
        self.structure, width = structure, layout.num_columns
        self.norm = FieldNorm(layout.widths)
        reads = [width] * len(block_units) if structure == "parallel" else [width, *block_units[:-1]]
        self.blocks = nn.ModuleList(
            MaskBlock(own, width, units, mask_ratio) for own, units in zip(reads, block_units, strict=True)
        )
        joined = sum(block_units) if structure == "parallel" else block_units[-1]
        self.mlp = MLP(joined, hidden_units, norm=norm, dropout=dropout)
        self.out_features = self.mlp.out_features

    def forward(self, x: Tensor) -> Tensor:
        """Maps `x [B, ΣD]` to `[B, out_features]`."""
        vector = self.norm(x)
        if self.structure == "parallel":
            vector = torch.cat([block(vector, x) for block in self.blocks], dim=1)
        else:
            for block in self.blocks:
                vector = block(vector, x)
        hidden: Tensor = self.mlp(vector)
        return hidden
