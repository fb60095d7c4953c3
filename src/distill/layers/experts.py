"""Several MLPs of one shape, computed together."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from distill.layers.activation import Activation, make_activation
from distill.layers.checks import check_layers, check_sizes
from distill.layers.initial import xavier_uniform_


class Experts(nn.Module):
    """G groups of n experts each; the experts of a group read the same input, h ← dropout(act(W h + b)).

    One matrix product a layer for all experts. W starts Xavier-uniform, b at 0.

    Args:
        num_groups: G.
        num_experts: Experts n of a group.
        in_features: Width of an input.
        hidden_units: Width of each layer of an expert.
        activation: Non-linearity of each layer.
        dropout: Probability of dropping a hidden unit.
    """

    def __init__(
        self,
        num_groups: int,
        num_experts: int,
        in_features: int,
        hidden_units: Sequence[int],
        activation: Activation = "relu",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        check_sizes("Experts", {"num_experts": num_experts, "in_features": in_features})
        check_layers("Experts", "hidden_units", hidden_units)
        self.num_groups, self.num_experts = num_groups, num_experts
        self.out_features = hidden_units[-1]
        experts = num_groups * num_experts
        self.first = nn.Parameter(torch.empty(num_groups, in_features, num_experts * hidden_units[0]))
        self.weights = nn.ParameterList(torch.empty(experts, *shape) for shape in pairwise(hidden_units))
        self.biases = nn.ParameterList(torch.zeros(experts, width) for width in hidden_units)
        xavier_uniform_(self.first, in_features, hidden_units[0])
        for weight in self.weights:
            xavier_uniform_(weight, weight.shape[1], weight.shape[2])
        self.finish = nn.Sequential(make_activation(activation), nn.Dropout(dropout))

    def forward(self, x: Tensor) -> Tensor:
        """Maps `x [B, G, in_features]`, or `[B, 1, in_features]` for all groups, to `[B, G, n, hidden_units[-1]]`."""
        if x.shape[1] == 1:
            hidden = x.squeeze(1) @ self.first.transpose(0, 1).flatten(1)
        else:
            hidden = torch.einsum("bgi,gio->bgo", x, self.first).flatten(1)
        hidden = torch.unflatten(hidden, 1, (self.num_groups * self.num_experts, -1))
        first_bias, *biases = self.biases
        hidden = self.finish(hidden + first_bias)
        for weight, bias in zip(self.weights, biases, strict=True):
            hidden = self.finish(torch.einsum("bei,eio->beo", hidden, weight) + bias)
        return torch.unflatten(hidden, 1, (self.num_groups, self.num_experts))
