"""Multi-layer perceptron."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

from torch import Tensor, nn

from distill.errors import ConfigError
from distill.layers.activation import Activation, make_activation
from distill.layers.batch_norm import BatchNorm

Norm = Literal["none", "batch", "layer"]


class MLP(nn.Module):
    """Hidden layers h ← dropout(act(norm(W h + b))), without an output layer of its own.

    Args:
        in_features: Width of the input.
        hidden_units: Width of each layer; none makes the identity.
        activation: Name of the non-linearity.
        norm: Normalisation before the non-linearity: `none`, `batch` (see `BatchNorm`) or `layer`.
        dropout: Probability of dropping a hidden unit.
        residual: Adds the input of a layer to its output where the widths agree.
    """

    def __init__(
        self,
        in_features: int,
        hidden_units: Sequence[int],
        activation: Activation = "relu",
        norm: Norm = "none",
        dropout: float = 0.0,
        residual: bool = False,
    ) -> None:
        super().__init__()
        if norm not in ("none", "batch", "layer"):
            raise ConfigError("Unknown normalisation.", expected="none, batch or layer", found=str(norm))
        widths = [in_features, *hidden_units]
        self.out_features = widths[-1]
        self.residual = residual
        self.blocks = nn.ModuleList()
        for width_in, width_out in pairwise(widths):
            block: list[nn.Module] = [nn.Linear(width_in, width_out)]
            if norm != "none":
                block.append(BatchNorm(width_out) if norm == "batch" else nn.LayerNorm(width_out))
            block.append(make_activation(activation))
            if dropout > 0:
                block.append(nn.Dropout(dropout))
            self.blocks.append(nn.Sequential(*block))

    def forward(self, x: Tensor) -> Tensor:
        """Maps `x [B, in_features]` to `[B, out_features]`."""
        for block in self.blocks:
            hidden = block(x)
            x = hidden + x if self.residual and hidden.shape == x.shape else hidden
        return x
