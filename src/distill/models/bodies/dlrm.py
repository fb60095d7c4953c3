"""DLRM: dot products of the embedded fields and of a vector made from the dense ones."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from distill.features import FieldLayout
from distill.layers.dot_interaction import DotInteraction
from distill.layers.field_projection import FieldProjection
from distill.layers.mlp import MLP, Norm
from distill.models.bodies.base import Body, usual_width

_DENSE = "<dense>"


class DLRM(Body):
    """top_MLP([b, ⟨f_i, f_j⟩ for i > j]) with b = bottom_MLP(dense) and f = b and the embedded fields at one width.

    Without dense fields there is no b, and the top MLP reads the products alone.

    Args:
        layout: The fields.
        field_width: Width of b and of the fields; that of most embedded fields if not given.
        bottom_units: Widths of the bottom MLP before its last layer, which has `field_width`.
        top_units: Widths of the top MLP.
        dropout: Of the top MLP.
        norm: Normalisation of the layers of both MLPs.

    Reference: Naumov et al., "Deep Learning Recommendation Model", 2019, arXiv:1906.00091, section 2.1.
    """

    def __init__(
        self,
        layout: FieldLayout,
        field_width: int | None,
        bottom_units: Sequence[int],
        top_units: Sequence[int],
        dropout: float,
        norm: Norm = "none",
    ) -> None:
        super().__init__()
        width = field_width or usual_width(layout)
        embedded = {name: own for name, own in layout.widths.items() if name not in layout.dense}
        is_dense = [name in layout.dense for name, own in layout.widths.items() for _ in range(own)]
        num_dense = sum(is_dense)
        self.register_buffer("_dense", torch.tensor(is_dense).nonzero().flatten(), persistent=False)
        self.register_buffer("_embedded", torch.tensor(is_dense).logical_not().nonzero().flatten(), persistent=False)
        self.bottom = MLP(num_dense, [*bottom_units, width], norm=norm) if num_dense else None
        self.project = FieldProjection(embedded, width) if embedded else None
        names = [*([_DENSE] if num_dense else []), *embedded]
        self.dot = DotInteraction(dict.fromkeys(names, width))
        self.top = MLP(self.dot.out_features + (width if num_dense else 0), top_units, norm=norm, dropout=dropout)
        self.out_features = self.top.out_features

    def forward(self, x: Tensor) -> Tensor:
        """Maps `x [B, ΣD]` to `[B, top_units[-1]]`."""
        bottom = _apply(self.bottom, x.index_select(1, self.get_buffer("_dense")))
        fields = _apply(self.project, x.index_select(1, self.get_buffer("_embedded")))
        products = self.dot(torch.cat([*bottom, *fields], dim=1))
        hidden: Tensor = self.top(torch.cat([*bottom, products], dim=1))
        return hidden


def _apply(module: nn.Module | None, x: Tensor) -> list[Tensor]:
    return [] if module is None else [module(x)]
