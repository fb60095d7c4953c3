"""A gate over all columns of a row, which a few fields or a learned vector decide."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from distill.errors import ConfigError
from distill.layers.checks import check_sizes
from distill.layers.mlp import MLP


class FeatureGate(nn.Module):
    """h = 2σ(g) ⊙ x with g = W MLP(c) + b: a gate of 1 leaves a column as it is.

    The context c is some fields of x or, if there are none, a learned vector: the gate is then the same for all rows.

    Args:
        widths: Field name to width, in the order of the columns.
        context: Names of the fields of c.
        context_dim: Width of the learned vector, which starts at 0.
        hidden_units: Widths of the MLP.

    Raises:
        ConfigError: The context names a field that is not there.

    Reference: Mao et al., "FinalMLP", 2023, arXiv:2304.00902, section "Stream-Specific Feature Selection".
    """

    def __init__(
        self, widths: Mapping[str, int], context: Sequence[str], context_dim: int, hidden_units: Sequence[int]
    ) -> None:
        super().__init__()
        check_sizes("FeatureGate", {"context_dim": context_dim})
        if unknown := [name for name in context if name not in widths]:
            raise ConfigError(
                "The context of a gate names fields that the model does not read.",
                where=", ".join(unknown),
                expected=", ".join(widths),
                found=", ".join(context),
                remedy="Name fields of the schema, or none: the gate then learns its context.",
            )
        self.out_features = sum(widths.values())
        columns = torch.split(torch.arange(self.out_features), list(widths.values()))
        chosen = [part for name, part in zip(widths, columns, strict=True) if name in context]
        self.context = None if chosen else nn.Parameter(torch.zeros(context_dim))
        self.register_buffer("_columns", torch.cat(chosen) if chosen else None, persistent=False)
        context_features = sum(len(part) for part in chosen) or context_dim
        self.mlp = MLP(context_features, hidden_units)
        self.gate = nn.Linear(self.mlp.out_features, self.out_features)

    def weights(self, x: Tensor) -> Tensor:
        """Returns the gate of each column, in 0..2: `[B, ΣD]`, or `[1, ΣD]` where the context is learned."""
        if self.context is None:
            context = x.index_select(1, self.get_buffer("_columns"))
        else:
            context = torch.stack([self.context])  # no view: one would want gradients
        gate: Tensor = self.gate(self.mlp(context))
        return 2 * gate.sigmoid()

    def forward(self, x: Tensor) -> Tensor:
        """Maps `x [B, ΣD]` to `[B, ΣD]`."""
        return x * self.weights(x)
