"""Multi-gate mixture of experts: tasks share experts, each by a gate of its own."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from distill.layers.activation import Activation
from distill.layers.checks import check_sizes
from distill.layers.experts import Experts
from distill.layers.initial import xavier_uniform_


class MMoE(nn.Module):
    """o_k = Σ_i g_{k,i} e_i(x) with g_k = softmax(W_k x + b_k).

    Gates start Xavier-uniform with b_k = 0. Deviation: the paper's gates have no b_k.

    Args:
        in_features: Width D of x.
        num_tasks: K.
        num_experts: E.
        hidden_units: Width of each layer of an expert.
        activation: Of the experts.
        dropout: Of the experts.

    Reference: Ma et al., "Modeling Task Relationships in Multi-task Learning with Multi-gate Mixture-of-Experts",
    KDD 2018, eq. 5 to 7.
    """

    def __init__(
        self,
        in_features: int,
        num_tasks: int,
        num_experts: int,
        hidden_units: Sequence[int],
        activation: Activation = "relu",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        check_sizes("MMoE", {"num_tasks": num_tasks})
        self.num_tasks, self.num_experts = num_tasks, num_experts
        self.experts = Experts(1, num_experts, in_features, hidden_units, activation, dropout)
        self.gate = nn.Linear(in_features, num_tasks * num_experts)
        xavier_uniform_(self.gate.weight, in_features, num_experts)
        nn.init.zeros_(self.gate.bias)
        self.out_features = self.experts.out_features

    def gates(self, x: Tensor) -> Tensor:
        """Returns the weight of each expert for each task `[B, K, E]`; over E they sum to 1."""
        logits: Tensor = self.gate(x)
        return torch.unflatten(logits, 1, (self.num_tasks, self.num_experts)).softmax(2)

    def forward(self, x: Tensor) -> Tensor:
        """Maps `x [B, D]` to `[B, K, hidden_units[-1]]`."""
        mixed: Tensor = self.gates(x) @ self.experts(x.unsqueeze(1)).squeeze(1)
        return mixed
