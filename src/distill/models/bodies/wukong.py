"""WuKong: a stack of low-rank factorisation machines, and an MLP."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from distill.features import FieldLayout
from distill.layers.mlp import MLP, Norm
from distill.layers.wukong import WuKongStack
from distill.models.bodies.base import AtOneWidth, Body


class WuKong(Body):
    """MLP(layer_l(… layer_1(X))) of the fields at one width.

    Args:
        layout: The fields; a number x becomes the vector x·w.
        field_width: Width of the fields; that of most embedded fields if not given.
        num_layers: Layers of the stack.
        fm_embeddings: Embeddings that the factorisation machine of a layer makes.
        linear_embeddings: Embeddings that the linear compression of a layer makes; 0 leaves it out.
        rank: Of each factorisation machine.
        fm_units: Hidden layers of the MLP in each layer.
        hidden_units: Widths of the MLP behind the stack; none leaves it out.
        dropout: Of that MLP.
        norm: Normalisation of the hidden layers of both.

    Raises:
        ConfigError: A size is below 1 (`linear_embeddings`: below 0).

    Reference: Zhang et al., "Wukong: Towards a Scaling Law for Large-Scale Recommendation", 2024, arXiv:2403.02545.
    """

    def __init__(
        self,
        layout: FieldLayout,
        field_width: int | None,
        num_layers: int,
        fm_embeddings: int,
        linear_embeddings: int,
        rank: int,
        fm_units: Sequence[int],
        hidden_units: Sequence[int],
        dropout: float,
        norm: Norm = "none",
    ) -> None:
        super().__init__()
        self.stack = AtOneWidth(
            layout,
            field_width,
            lambda widths: WuKongStack(widths, num_layers, fm_embeddings, linear_embeddings, rank, fm_units, norm),
        )
        self.mlp = MLP(self.stack.out_features, hidden_units, norm=norm, dropout=dropout)
        self.out_features = self.mlp.out_features

    def forward(self, x: Tensor) -> Tensor:
        """Maps `x [B, ΣD]` to `[B, out_features]`."""
        hidden: Tensor = self.mlp(self.stack(x))
        return hidden
