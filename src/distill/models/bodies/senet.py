"""Bodies that gate fields by squeeze-and-excitation: FiBiNet, and a gated MLP for towers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from distill.features import FieldLayout
from distill.layers.bilinear import BilinearInteraction, BilinearKind
from distill.layers.mlp import MLP, Norm
from distill.layers.senet import Excitation, SENet
from distill.models.bodies.base import AtOneWidth, Body


class FiBiNet(Body):
    """MLP([bilinear(e), bilinear(SENet(e)), d]) with the embedded fields e at one width and the dense fields d.

    Args:
        layout: The fields.
        field_width: Width of the fields; that of most embedded fields if not given.
        reduction_ratio: Of SENet.
        excitation: Of SENet.
        bilinear: `field_all`, `field_each` or `field_interaction`.
        hidden_units: Widths of the MLP.
        dropout: Of the MLP.
        norm: Normalisation of the MLP's layers.

    Reference: Huang et al., "FiBiNET", 2019, arXiv:1905.09433, eq. 1 to 9. Deviations: numbers are not fields of the
    interaction but inputs of the MLP; the interaction of the gated fields has weights of its own, not those of the
    other (the paper names one layer for both).
    """

    def __init__(
        self,
        layout: FieldLayout,
        field_width: int | None,
        reduction_ratio: int,
        excitation: Excitation,
        bilinear: BilinearKind,
        hidden_units: Sequence[int],
        dropout: float,
        norm: Norm = "none",
    ) -> None:
        super().__init__()
        embedded = {name: width for name, width in layout.widths.items() if name not in layout.dense}
        dense = [name for name in layout.widths if name in layout.dense]
        self.register_buffer("_embedded", layout.columns(list(embedded)), persistent=False)
        self.register_buffer("_dense", layout.columns(dense), persistent=False)
        self.interaction = AtOneWidth(
            FieldLayout(embedded), field_width, partial(_TwoBilinear, reduction_ratio, excitation, bilinear)
        )
        num_dense = sum(layout.widths[name] for name in dense)
        self.mlp = MLP(self.interaction.out_features + num_dense, hidden_units, norm=norm, dropout=dropout)
        self.out_features = self.mlp.out_features

    def forward(self, x: Tensor) -> Tensor:
        """Maps `x [B, ΣD]` to `[B, hidden_units[-1]]`."""
        embedded = x.index_select(1, self.get_buffer("_embedded"))
        dense = x.index_select(1, self.get_buffer("_dense"))
        hidden: Tensor = self.mlp(torch.cat([self.interaction(embedded), dense], dim=1))
        return hidden


class _TwoBilinear(nn.Module):
    """[bilinear(e), bilinear(SENet(e))], each with weights of its own."""

    def __init__(
        self, reduction_ratio: int, excitation: Excitation, kind: BilinearKind, widths: Mapping[str, int]
    ) -> None:
        super().__init__()
        self.senet = SENet(widths, reduction_ratio, excitation)
        self.plain, self.gated = BilinearInteraction(widths, kind), BilinearInteraction(widths, kind)
        self.out_features = 2 * self.plain.out_features

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.plain(x), self.gated(self.senet(x))], dim=1)


class SENetDNN(Body):
    """MLP(SENet(x)).

    Args:
        layout: The fields, of any widths.
        reduction_ratio: Of SENet.
        excitation: Of SENet.
        hidden_units: Widths of the MLP.
        dropout: Of the MLP.
        norm: Normalisation of the MLP's layers.
    """

    def __init__(
        self,
        layout: FieldLayout,
        reduction_ratio: int,
        excitation: Excitation,
        hidden_units: Sequence[int],
        dropout: float,
        norm: Norm = "none",
    ) -> None:
        super().__init__()
        self.senet = SENet(layout.widths, reduction_ratio, excitation)
        self.mlp = MLP(layout.num_columns, hidden_units, norm=norm, dropout=dropout)
        self.out_features = self.mlp.out_features

    def forward(self, x: Tensor) -> Tensor:
        """Maps `x [B, ΣD]` to `[B, hidden_units[-1]]`."""
        hidden: Tensor = self.mlp(self.senet(x))
        return hidden
