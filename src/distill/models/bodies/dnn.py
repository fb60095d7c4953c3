"""The fields as they are, and an MLP over them."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from distill.features import FieldLayout
from distill.layers.mlp import MLP, Norm
from distill.models.bodies.base import Body


class Fields(Body):
    """No interaction: the fields themselves, for trunks that read them directly as MMoE does in its paper.

    Args:
        layout: The fields.
    """

    def __init__(self, layout: FieldLayout) -> None:
        super().__init__()
        self.out_features = layout.num_columns

    def forward(self, x: Tensor) -> Tensor:
        """Returns `x [B, ΣD]`."""
        return x


class DNN(Body):
    """MLP(x).

    Args:
        layout: The fields.
        hidden_units: Widths of the MLP.
        norm: Normalisation of its layers.
        dropout: Of its layers.
        residual: Adds the input of a layer to its output where the widths agree.

    Reference: Covington et al., "Deep Neural Networks for YouTube Recommendations", 2016, section 4.
    """

    def __init__(
        self, layout: FieldLayout, hidden_units: Sequence[int], norm: Norm, dropout: float, residual: bool
    ) -> None:
        super().__init__()
        self.mlp = MLP(layout.num_columns, hidden_units, norm=norm, dropout=dropout, residual=residual)
        self.out_features = self.mlp.out_features

    def forward(self, x: Tensor) -> Tensor:
        """Maps `x [B, ΣD]` to `[B, hidden_units[-1]]`."""
        out: Tensor = self.mlp(x)
        return out
