"""Explicit interactions alone, without an MLP: sub-towers of the parallel two-tower."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from distill.features import FieldLayout
from distill.layers.activation import Activation
from distill.layers.cin import CIN
from distill.layers.cross import CrossNetV2
from distill.layers.fm import BiInteraction
from distill.models.bodies.base import AtOneWidth, Body


class Cross(Body):
    """CrossNetV2(x).

    Args:
        layout: The fields.
        num_cross_layers: Layers of the cross network.
        cross_rank: Rank of the cross matrices; full if not given.

    Reference: Wang et al., "DCN V2", 2021, arXiv:2008.13535, eq. 1.
    """

    def __init__(self, layout: FieldLayout, num_cross_layers: int, cross_rank: int | None) -> None:
        super().__init__()
        self.cross = CrossNetV2(layout.num_columns, num_cross_layers, cross_rank)
        self.out_features = layout.num_columns

    def forward(self, x: Tensor) -> Tensor:
        """Maps `x [B, ΣD]` to `[B, ΣD]`."""
        crossed: Tensor = self.cross(x)
        return crossed


class FMVector(Body):
    """The factorisation machine before its sum: Σ_{i<j} e_i ⊙ e_j over the fields at one width.

    Args:
        layout: The fields.
        field_width: Width of the fields; that of most embedded fields if not given.

    Reference: He and Chua, "Neural Factorization Machines", 2017, arXiv:1708.05027, eq. 4.
    """

    def __init__(self, layout: FieldLayout, field_width: int | None) -> None:
        super().__init__()
        self.interaction = AtOneWidth(layout, field_width, BiInteraction)
        self.out_features = self.interaction.out_features

    def forward(self, x: Tensor) -> Tensor:
        """Maps `x [B, ΣD]` to `[B, field_width]`."""
        vector: Tensor = self.interaction(x)
        return vector


class CINAlone(Body):
    """CIN over the fields at one width.

    Args:
        layout: The fields.
        field_width: Width of the fields; that of most embedded fields if not given.
        layer_sizes: Maps of each layer.
        split_half: Whether half of the maps of a layer go on and the other half to the output.
        activation: Of the maps.

    Reference: Lian et al., "xDeepFM", 2018, arXiv:1803.05170, eq. 6 to 8.
    """

    def __init__(
        self,
        layout: FieldLayout,
        field_width: int | None,
        layer_sizes: Sequence[int],
        split_half: bool,
        activation: Activation,
    ) -> None:
        super().__init__()
        self.cin = AtOneWidth(layout, field_width, lambda widths: CIN(widths, layer_sizes, split_half, activation))
        self.out_features = self.cin.out_features

    def forward(self, x: Tensor) -> Tensor:
        """Maps `x [B, ΣD]` to the kept maps' sums."""
        maps: Tensor = self.cin(x)
        return maps
