"""FinalMLP: two MLPs over the fields, each behind a gate of its own, and a bilinear fusion of what they say."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from distill.errors import ConfigError
from distill.features import FieldLayout
from distill.layers.bilinear_fusion import BilinearFusion
from distill.layers.feature_gate import FeatureGate
from distill.layers.mlp import MLP, Norm
from distill.models.bodies.base import Body, usual_width


class FinalMLP(Body):
    """BilinearFusion(MLP_1(gate_1(x)), MLP_2(gate_2(x))).

    Args:
        layout: The fields, of any widths.
        contexts: For both gates, names of the fields that decide it; none makes a learned vector decide. Without
            contexts there are no gates.
        gate_units: Widths of the hidden layers of a gate.
        first_units: Widths of the first MLP.
        second_units: Widths of the second MLP.
        num_heads: Of the fusion.
        norm: Normalisation of the MLPs' layers; gates have none.
        dropout: Of the MLPs.

    Raises:
        ConfigError: There are contexts for one gate or for more than two, or the heads are not equal parts.

    Reference: Mao et al., "FinalMLP: An Enhanced Two-Stream MLP Model for CTR Prediction", 2023, arXiv:2304.00902.
    """

    def __init__(
        self,
        layout: FieldLayout,
        contexts: Sequence[Sequence[str]] | None,
        gate_units: Sequence[int],
        first_units: Sequence[int],
        second_units: Sequence[int],
        num_heads: int,
        norm: Norm,
        dropout: float,
    ) -> None:
        super().__init__()
        if contexts is not None and len(contexts) != 2:
            raise ConfigError(
                "FinalMLP needs two gates.",
                where="contexts",
                expected="two lists of fields, each of which may be empty, or null for no gates",
                found=str(contexts),
            )
        self.gates = nn.ModuleList(
            FeatureGate(layout.widths, context, usual_width(layout), gate_units) for context in contexts or ()
        )
        self.first, self.second = (
            MLP(layout.num_columns, units, norm=norm, dropout=dropout) for units in (first_units, second_units)
        )
        self.fusion = BilinearFusion(self.first.out_features, self.second.out_features, num_heads)
        self.out_features = self.fusion.out_features

    def forward(self, x: Tensor) -> Tensor:
        """Maps `x [B, ΣD]` to `[B, first_units[-1] + 2·second_units[-1]]`."""
        first, second = [gate(x) for gate in self.gates] or (x, x)
        fused: Tensor = self.fusion(self.first(first), self.second(second))
        return fused
