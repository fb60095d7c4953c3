"""xDeepFM: a compressed interaction network beside an MLP."""

from __future__ import annotations

from collections.abc import Sequence

from distill.features import FieldLayout
from distill.layers.activation import Activation
from distill.layers.cin import CIN
from distill.layers.mlp import Norm
from distill.models.bodies.base import AtOneWidth, BesideMLP


class XDeepFM(BesideMLP):
    """[CIN(e), MLP(x)] with the fields e at one width; first-order weights are the model's linear part.

    Args:
        layout: The fields.
        field_width: Width of the fields in the CIN; that of most embedded fields if not given.
        layer_sizes: Maps of each layer of the CIN.
        split_half: Whether half of the maps of a layer go on and the other half to the output.
        activation: Of the CIN.
        hidden_units: Widths of the MLP.
        dropout: Of the MLP.
        norm: Normalisation of the MLP's layers.

    Reference: Lian et al., "xDeepFM", 2018, arXiv:1803.05170, eq. 6 to 9.
    """

    def __init__(
        self,
        layout: FieldLayout,
        field_width: int | None,
        layer_sizes: Sequence[int],
        split_half: bool,
        activation: Activation,
        hidden_units: Sequence[int],
        dropout: float,
        norm: Norm = "none",
    ) -> None:
        cin = AtOneWidth(layout, field_width, lambda widths: CIN(widths, layer_sizes, split_half, activation))
        super().__init__(cin, layout.num_columns, hidden_units, dropout, norm)
