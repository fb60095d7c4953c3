"""What all bodies have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from distill.features import FieldLayout
from distill.layers.field_projection import FieldProjection
from distill.layers.mlp import MLP, Norm


class Body(nn.Module, ABC):
    """Maps rows of fields to vectors.

    Attributes:
        out_features: Width of a vector.
    """

    out_features: int

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """Maps `x [B, ΣD]` to `[B, out_features]`."""


BodyFactory = Callable[[FieldLayout], Body]


class BesideMLP(Body):
    """[interaction(x), MLP(x)]: explicit interactions beside implicit ones.

    Args:
        interaction: Maps `[B, ΣD]` to `[B, interaction.out_features]`.
        in_features: ΣD.
        hidden_units: Widths of the MLP.
        dropout: Of the MLP.
        norm: Normalisation of the MLP's layers.
    """

    def __init__(
        self,
        interaction: nn.Module,
        in_features: int,
        hidden_units: Sequence[int],
        dropout: float,
        norm: Norm = "none",
    ) -> None:
        super().__init__()
        self.interaction = interaction
        self.mlp = MLP(in_features, hidden_units, norm=norm, dropout=dropout)
        self.out_features = cast(int, interaction.out_features) + self.mlp.out_features

    def forward(self, x: Tensor) -> Tensor:
        """Maps `x [B, ΣD]` to `[B, out_features]`."""
        return torch.cat([self.interaction(x), self.mlp(x)], dim=1)


class AtOneWidth(nn.Module):
    """A layer that wants fields of one width, behind the projection of other fields (such as numbers) to that width.

    Args:
        layout: The fields.
        width: Width of the projected fields; that of most embedded fields if not given.
        layer: Builds the layer from the projected fields.
    """

    def __init__(self, layout: FieldLayout, width: int | None, layer: Callable[[dict[str, int]], nn.Module]) -> None:
        super().__init__()
        self.project = FieldProjection(layout.widths, width or usual_width(layout))
        self.layer = layer(self.project.widths)
        self.out_features = cast(int, self.layer.out_features)

    def forward(self, x: Tensor) -> Tensor:
        """Maps `x [B, ΣD]` to what the layer makes of the projected fields."""
        out: Tensor = self.layer(self.project(x))
        return out


def usual_width(layout: FieldLayout) -> int:
    """Returns the width that most embedded fields have, the largest of several such; of all if none is embedded."""
    embedded = [width for name, width in layout.widths.items() if name not in layout.dense]
    widths = embedded or list(layout.widths.values()) or [1]
    return max(set(widths), key=lambda width: (widths.count(width), width))
