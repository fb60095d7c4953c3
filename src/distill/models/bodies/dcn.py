"""DCN and GDCN: cross networks beside an MLP, or before it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from distill.errors import ConfigError
from distill.features import FieldLayout
from distill.layers.cross import CrossNetV2
from distill.layers.cross_gated import GatedCrossNet
from distill.layers.cross_mixture import CrossNetV2Mixture
from distill.layers.cross_v1 import CrossNetV1
from distill.layers.mlp import MLP, Norm
from distill.models.bodies.base import BesideMLP, Body

Structure = Literal["parallel", "stacked"]


class DCNV1(BesideMLP):
    """[CrossNetV1(x), MLP(x)].

    Args:
        layout: The fields.
        num_cross_layers: Layers of the cross network.
        hidden_units: Widths of the MLP.
        dropout: Of the MLP.
        norm: Normalisation of the MLP's layers.

    Reference: Wang et al., "Deep & Cross Network for Ad Click Predictions", 2017, arXiv:1708.05123, eq. 3 and 6.
    """

    def __init__(
        self,
        layout: FieldLayout,
        num_cross_layers: int,
        hidden_units: Sequence[int],
        dropout: float,
        norm: Norm = "none",
    ) -> None:
        width = layout.num_columns
        super().__init__(CrossNetV1(width, num_cross_layers), width, hidden_units, dropout, norm)


class CrossAndMLP(Body):
    """[cross(x), MLP(x)] (parallel) or MLP(cross(x)) (stacked).

    Args:
        cross: Maps `[B, ΣD]` to `[B, ΣD]`.
        width: ΣD.
        hidden_units: Widths of the MLP.
        structure: `parallel` or `stacked`.
        dropout: Of the MLP.
        norm: Normalisation of the MLP's layers.

    Raises:
        ConfigError: The structure is unknown.
    """

    def __init__(
        self,
        cross: nn.Module,
        width: int,
        hidden_units: Sequence[int],
        structure: Structure,
        dropout: float,
        norm: Norm,
    ) -> None:
        super().__init__()
        if structure not in ("parallel", "stacked"):
            raise ConfigError(
                "Unknown structure of a cross network and an MLP.", expected="parallel or stacked", found=str(structure)
            )
        self.structure = structure
        self.cross = cross
        self.mlp = MLP(width, hidden_units, norm=norm, dropout=dropout)
        self.out_features = self.mlp.out_features + (width if structure == "parallel" else 0)

    def forward(self, x: Tensor) -> Tensor:
        """Maps `x [B, ΣD]` to `[B, out_features]`."""
        crossed: Tensor = self.cross(x)
        if self.structure == "parallel":
            return torch.cat([crossed, self.mlp(x)], dim=1)
        hidden: Tensor = self.mlp(crossed)
        return hidden


class DCNV2(CrossAndMLP):
    """[CrossNetV2(x), MLP(x)] (parallel) or MLP(CrossNetV2(x)) (stacked).

    Args:
        layout: The fields.
        num_cross_layers: Layers of the cross network.
        cross_rank: Rank of the cross matrices; full if not given.
        num_experts: Low-rank experts of a cross layer, mixed by gates; one matrix a layer if not given.
        hidden_units: Widths of the MLP.
        structure: `parallel` or `stacked`.
        dropout: Of the MLP.
        norm: Normalisation of the MLP's layers.

    Raises:
        ConfigError: The structure is unknown, or experts have no rank.

    Reference: Wang et al., "DCN V2", 2021, arXiv:2008.13535, section 3.
    """

    def __init__(
        self,
        layout: FieldLayout,
        num_cross_layers: int,
        cross_rank: int | None,
        num_experts: int | None,
        hidden_units: Sequence[int],
        structure: Structure,
        dropout: float,
        norm: Norm = "none",
    ) -> None:
        width = layout.num_columns
        cross = _cross_net(width, num_cross_layers, cross_rank, num_experts)
        super().__init__(cross, width, hidden_units, structure, dropout, norm)


class GDCN(CrossAndMLP):
    """[GatedCrossNet(x), MLP(x)] (parallel, GDCN-P) or MLP(GatedCrossNet(x)) (stacked, GDCN-S).

    Args:
        layout: The fields.
        num_cross_layers: Layers of the cross network.
        hidden_units: Widths of the MLP.
        structure: `parallel` or `stacked`.
        dropout: Of the MLP.
        norm: Normalisation of the MLP's layers.

    Raises:
        ConfigError: The structure is unknown.

    Reference: Wang et al., "Towards Deeper, Lighter and Interpretable Cross Network for CTR Prediction", 2023,
    arXiv:2311.04635, section 3. The widths of fields that the paper derives (FDO) are `embedding_dim` of the schema.
    """

    def __init__(
        self,
        layout: FieldLayout,
        num_cross_layers: int,
        hidden_units: Sequence[int],
        structure: Structure,
        dropout: float,
        norm: Norm = "none",
    ) -> None:
        width = layout.num_columns
        super().__init__(GatedCrossNet(width, num_cross_layers), width, hidden_units, structure, dropout, norm)


def _cross_net(width: int, num_layers: int, rank: int | None, num_experts: int | None) -> nn.Module:
    if num_experts is None:
        return CrossNetV2(width, num_layers, rank)
    if rank is None:
        raise ConfigError(
            "The experts of a cross layer need a low rank.",
            where="cross_rank",
            expected="a number",
            found="null",
            remedy="Give cross_rank beside num_experts.",
        )
    return CrossNetV2Mixture(width, num_layers, rank, num_experts)
