"""AutoInt: self-attention over the fields."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from distill.errors import ConfigError
from distill.features import FieldLayout
from distill.layers.field_attention import FieldAttention
from distill.layers.mlp import MLP, Norm
from distill.models.bodies.base import AtOneWidth, Body


class AutoInt(Body):
    """Attention layers over the fields at one width; with `hidden_units`, an MLP beside them (AutoInt+).

    Args:
        layout: The fields; a number x becomes the vector x·w.
        field_width: Width of the fields; that of most embedded fields if not given.
        num_layers: Layers of attention.
        num_heads: Heads of each.
        head_dim: Width of a head.
        residual: Whether each layer adds a projection of its input.
        hidden_units: Widths of the MLP; none leaves it out.
        norm: Normalisation of the MLP's layers.

    Raises:
        ConfigError: There is a norm and no MLP.

    Reference: Song et al., "AutoInt", 2019, arXiv:1810.11921, eq. 2 to 9.
    """

    def __init__(
        self,
        layout: FieldLayout,
        field_width: int | None,
        num_layers: int,
        num_heads: int,
        head_dim: int,
        residual: bool,
        hidden_units: Sequence[int],
        norm: Norm = "none",
    ) -> None:
        super().__init__()
        if norm != "none" and not hidden_units:
            raise ConfigError(
                "There is no MLP to normalise.",
                where="norm",
                expected="none, or widths in hidden_units",
                found=str(norm),
            )
        self.attention = AtOneWidth(
            layout, field_width, lambda widths: FieldAttention(widths, num_layers, num_heads, head_dim, residual)
        )
        self.mlp = MLP(layout.num_columns, hidden_units, norm=norm) if hidden_units else None
        self.out_features = self.attention.out_features + (self.mlp.out_features if self.mlp is not None else 0)

    def forward(self, x: Tensor) -> Tensor:
        """Maps `x [B, ΣD]` to `[B, out_features]`."""
        attended: Tensor = self.attention(x)
        return attended if self.mlp is None else torch.cat([attended, self.mlp(x)], dim=1)
