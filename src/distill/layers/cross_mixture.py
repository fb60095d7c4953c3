"""Cross network of DCN v2 with a mixture of low-rank experts a layer."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from distill.errors import ConfigError
from distill.layers.activation import Activation, make_activation
from distill.layers.checks import check_sizes
from distill.layers.initial import xavier_uniform_

GateFunction = Literal["softmax", "sigmoid"]


class CrossMixtureLayer(nn.Module):
    """x_{l+1} = Σ_i G_i(x_l) E_i(x_l) + x_l with E_i(x_l) = x_0 ⊙ (U_i g(C_i g(V_iᵀ x_l)) + b).

    Since E_i is linear behind g, the gates weigh the hidden units and all experts share one product with U:
    Σ_i G_i E_i = x_0 ⊙ (U [G_1 h_1 … G_E h_E] + (Σ_i G_i) b).

    Args:
        in_features: Width D.
        rank: Rank r of an expert.
        num_experts: E.
        gate: G over the experts of a row: `softmax` or `sigmoid` of a linear map of x_l.
        activation: g.
    """

    def __init__(
        self, in_features: int, rank: int, num_experts: int, gate: GateFunction, activation: Activation
    ) -> None:
        super().__init__()
        self.gate_function, self.num_experts = gate, num_experts
        self.down = nn.Parameter(torch.empty(in_features, num_experts * rank))
        self.core = nn.Parameter(torch.empty(num_experts, rank, rank))
        self.up = nn.Parameter(torch.empty(num_experts * rank, in_features))
        self.bias = nn.Parameter(torch.zeros(in_features))
        xavier_uniform_(self.down, in_features, rank)
        xavier_uniform_(self.core, rank, rank)
        xavier_uniform_(self.up, rank, in_features)
        self.gate = nn.Linear(in_features, num_experts)
        self.activation = make_activation(activation)

    def gates(self, x: Tensor) -> Tensor:
        """Returns the weight of each expert `[B, E]` for `x [B, D]`."""
        logits: Tensor = self.gate(x)
        return logits.softmax(1) if self.gate_function == "softmax" else logits.sigmoid()

    def forward(self, x0: Tensor, x: Tensor) -> Tensor:
        """Maps `x0 [B, D]` and `x [B, D]` to `[B, D]`."""
        gates = self.gates(x)
        hidden = torch.unflatten(self.activation(x @ self.down), 1, (self.num_experts, -1))
        hidden = self.activation(torch.einsum("bei,eio->beo", hidden, self.core))
        mixed = (hidden * gates.unsqueeze(2)).flatten(1) @ self.up
        # The weights of a softmax sum to 1.
        bias = self.bias if self.gate_function == "softmax" else gates.sum(1, keepdim=True) * self.bias
        out: Tensor = x0 * (mixed + bias) + x
        return out


class CrossNetV2Mixture(nn.Module):
    """Cross layers whose matrix is a mixture of low-rank experts, weighed row by row.

    Each layer has gates of its own, with a bias. Weights start Xavier-uniform and biases at 0; the paper leaves both
    open. Dense matrices: `CrossNetV2`.

    Args:
        in_features: Width D of the input and of the output.
        num_layers: Number of layers.
        rank: Rank of an expert.
        num_experts: Experts of a layer.
        gate: `softmax` or `sigmoid`.
        activation: Non-linearity g in the low-rank space; `identity` makes an expert U C Vᵀ.

    Reference: Wang et al., "DCN V2", 2021, arXiv:2008.13535, eq. 3 and 4.
    """

    def __init__(
        self,
        in_features: int,
        num_layers: int,
        rank: int,
        num_experts: int,
        gate: GateFunction = "softmax",
        activation: Activation = "tanh",
    ) -> None:
        super().__init__()
        check_sizes("CrossNetV2Mixture", {"rank": rank, "num_experts": num_experts})
        if gate not in ("softmax", "sigmoid"):
            raise ConfigError("Unknown gate of the experts.", expected="softmax or sigmoid", found=str(gate))
        self.out_features = in_features
        self.layers = nn.ModuleList(
            CrossMixtureLayer(in_features, rank, num_experts, gate, activation) for _ in range(num_layers)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Maps `x [B, D]` to `[B, D]`."""
        crossed = x
        for layer in self.layers:
            crossed = layer(x, crossed)
        return crossed
