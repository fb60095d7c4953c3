"""One level of customised gate control: shared experts beside each task's own."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from distill.layers.activation import Activation
from distill.layers.checks import check_sizes
from distill.layers.experts import Experts
from distill.layers.initial import xavier_uniform_


class ExtractionLevel(nn.Module):
    """o_k = Σ_i g_{k,i} e_i over the experts of task k and the shared ones, g_k = softmax(W_k x_k + b_k).

    The experts of task k read x_k, the shared ones the shared input.

    Args:
        in_features: Width D of an input.
        num_tasks: K.
        num_task_experts: Experts n of each task.
        num_shared_experts: Shared experts m.
        hidden_units: Width of each layer of an expert.
        activation: Of the experts.
        dropout: Of the experts.
    """

    def __init__(
        self,
        in_features: int,
        num_tasks: int,
        num_task_experts: int,
        num_shared_experts: int,
        hidden_units: Sequence[int],
        activation: Activation,
        dropout: float,
    ) -> None:
        super().__init__()
        check_sizes("The extraction of tasks", {"num_tasks": num_tasks, "num_shared_experts": num_shared_experts})
        self.num_tasks, self.num_task_experts = num_tasks, num_task_experts
        self.task_experts = Experts(num_tasks, num_task_experts, in_features, hidden_units, activation, dropout)
        self.shared_experts = Experts(1, num_shared_experts, in_features, hidden_units, activation, dropout)
        self.out_features = self.shared_experts.out_features
        choices = num_task_experts + num_shared_experts
        self.gate_weight = nn.Parameter(torch.empty(num_tasks, in_features, choices))
        self.gate_bias = nn.Parameter(torch.zeros(num_tasks, choices))
        xavier_uniform_(self.gate_weight, in_features, choices)

    def gates(self, tasks: Tensor) -> Tensor:
        """Returns the weights over own and shared experts `[B, K, n + m]` for `tasks [B, K or 1, D]`."""
        if tasks.shape[1] == 1:
            flat = tasks.squeeze(1) @ self.gate_weight.transpose(0, 1).flatten(1)
            logits = torch.unflatten(flat, 1, (self.num_tasks, -1))
        else:
            logits = torch.einsum("bki,kio->bko", tasks, self.gate_weight)
        return (logits + self.gate_bias).softmax(2)

    def forward(self, tasks: Tensor, shared: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Extracts what each task needs.

        Args:
            tasks: Inputs of the tasks `[B, K, D]`, or `[B, 1, D]` for all.
            shared: Input of the shared experts `[B, D]`.

        Returns:
            Outputs of the tasks `[B, K, H]`, of the tasks' experts `[B, K, n, H]` and of the shared ones `[B, m, H]`.
        """
        own = self.task_experts(tasks)
        common = self.shared_experts(shared.unsqueeze(1)).squeeze(1)
        gates = self.gates(tasks)
        of_own, of_common = gates.split_with_sizes([self.num_task_experts, common.shape[1]], dim=2)
        mixed = (of_own.unsqueeze(2) @ own).squeeze(2) + of_common @ common
        return mixed, own, common
