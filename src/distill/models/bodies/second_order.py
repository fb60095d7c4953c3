"""Factorisation machines beside an MLP: DeepFM, and its kernel form for fields of any widths."""

from __future__ import annotations

from collections.abc import Sequence

from distill.features import FieldLayout
from distill.layers.fm import FM
from distill.layers.kfm import KFM
from distill.layers.mlp import Norm
from distill.models.bodies.base import AtOneWidth, BesideMLP


class DeepFM(BesideMLP):
    """[FM(e), MLP(x)] with the fields e at one width; first-order weights are the model's linear part.

    Args:
        layout: The fields.
        field_width: Width of the fields in the FM; that of most embedded fields if not given.
        hidden_units: Widths of the MLP.
        dropout: Of the MLP.
        norm: Normalisation of the MLP's layers.

    Reference: Guo et al., "DeepFM", 2017, arXiv:1703.04247, eq. 1 to 4. Deviation: the head weighs the FM's value.
    """

    def __init__(
        self,
        layout: FieldLayout,
        field_width: int | None,
        hidden_units: Sequence[int],
        dropout: float,
        norm: Norm = "none",
    ) -> None:
        super().__init__(AtOneWidth(layout, field_width, FM), layout.num_columns, hidden_units, dropout, norm)


class DeepKFM(BesideMLP):
    """[KFM(x), MLP(x)]: as DeepFM, with a kernel between each two fields, which may have different widths.

    Args:
        layout: The fields.
        hidden_units: Widths of the MLP.
        dropout: Of the MLP.
        norm: Normalisation of the MLP's layers.
    """

    def __init__(self, layout: FieldLayout, hidden_units: Sequence[int], dropout: float, norm: Norm = "none") -> None:
        super().__init__(KFM(layout.widths), layout.num_columns, hidden_units, dropout, norm)
