"""Customised gate control (CGC) and progressive layered extraction (PLE), its levels one upon another."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from distill.layers.activation import Activation
from distill.layers.checks import check_layers, check_sizes
from distill.layers.extraction_level import ExtractionLevel


class PLE(nn.Module):
    """Levels of CGC: x^j_k = CGC_k(x^{j−1}_k, x^{j−1}_s) for task k, and x^j_s by a gate over all experts of the level.

    The first level reads one x for all; the last has no shared output. Gates are softmax(W x + b) and start
    Xavier-uniform with b = 0. Deviation: the paper's gates have no b.

    Args:
        in_features: Width D of x.
        num_tasks: K.
        num_levels: Levels; one makes CGC.
        num_task_experts: Experts of each task on each level.
        num_shared_experts: Shared experts on each level.
        hidden_units: Width of each layer of an expert.
        activation: Of the experts.
        dropout: Of the experts.

    Reference: Tang et al., "Progressive Layered Extraction (PLE)", RecSys 2020, eq. 1 to 4 (CGC), 5 to 7 (PLE).
    """

    def __init__(
        self,
        in_features: int,
        num_tasks: int,
        num_levels: int,
        num_task_experts: int,
        num_shared_experts: int,
        hidden_units: Sequence[int],
        activation: Activation = "relu",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        check_sizes("PLE", {"num_levels": num_levels})
        check_layers("PLE", "hidden_units", hidden_units)
        num_experts = num_tasks * num_task_experts + num_shared_experts
        widths = [in_features] + [hidden_units[-1] for _ in range(num_levels - 1)]
        self.levels = nn.ModuleList(
            ExtractionLevel(width, num_tasks, num_task_experts, num_shared_experts, hidden_units, activation, dropout)
            for width in widths
        )
        # The shared gate of a level reads the level's shared input; the last level has none.
        self.shared_gates = nn.ModuleList(_gate(width, num_experts) for width in widths[:-1])
        self.out_features = hidden_units[-1]

    def forward(self, x: Tensor) -> Tensor:
        """Maps `x [B, D]` to `[B, K, hidden_units[-1]]`."""
        shared = x
        first, *levels = self.levels
        tasks, own, common = first(x.unsqueeze(1), shared)
        for gate, level in zip(self.shared_gates, levels, strict=True):
            experts = torch.cat([own.flatten(1, 2), common], dim=1)
            shared = (gate(shared).softmax(1).unsqueeze(1) @ experts).squeeze(1)
            tasks, own, common = level(tasks, shared)
        out: Tensor = tasks
        return out


class CGC(PLE):
    """One level: o_k = Σ_i g_{k,i} e_i(x) over the experts of task k and the shared ones, g_k = softmax(W_k x + b_k).

    Args:
        in_features: Width D of x.
        num_tasks: K.
        num_task_experts: Experts of each task.
        num_shared_experts: Shared experts.
        hidden_units: Width of each layer of an expert.
        activation: Of the experts.
        dropout: Of the experts.

    Reference: as `PLE`, eq. 1 to 4.
    """

    def __init__(
        self,
        in_features: int,
        num_tasks: int,
        num_task_experts: int,
        num_shared_experts: int,
        hidden_units: Sequence[int],
        activation: Activation = "relu",
        dropout: float = 0.0,
    ) -> None:
        super().__init__(
            in_features, num_tasks, 1, num_task_experts, num_shared_experts, hidden_units, activation, dropout
        )


def _gate(in_features: int, num_experts: int) -> nn.Linear:
    gate = nn.Linear(in_features, num_experts)
    nn.init.xavier_uniform_(gate.weight)
    nn.init.zeros_(gate.bias)
    return gate
