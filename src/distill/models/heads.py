"""From hidden vectors to one logit per task."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from distill.layers.experts import Experts


class TaskHeads(nn.Module):
    """z_k = w_k·h + b_k for each task k.

    Args:
        in_features: Width of the hidden vector.
        num_tasks: K.
    """

    def __init__(self, in_features: int, num_tasks: int) -> None:
        super().__init__()
        self.linear = nn.Linear(in_features, num_tasks)

    def forward(self, hidden: Tensor) -> Tensor:
        """Maps `hidden [N, in_features]` to logits `[N, K]`."""
        logits: Tensor = self.linear(hidden)
        return logits


class TaskTowers(nn.Module):
    """z_k = w_k·MLP_k(h_k) + b_k: each task has a vector, an MLP and a head of its own.

    Args:
        in_features: Width of a task's vector.
        num_tasks: K.
        hidden_units: Widths of each MLP; none makes the identity.
    """

    def __init__(self, in_features: int, num_tasks: int, hidden_units: Sequence[int]) -> None:
        super().__init__()
        self.towers = Experts(num_tasks, 1, in_features, hidden_units, "relu", 0.0) if hidden_units else None
        width = hidden_units[-1] if hidden_units else in_features
        like = nn.Linear(width, num_tasks)  # for its initial values
        self.weight, self.bias = nn.Parameter(like.weight.detach()), nn.Parameter(like.bias.detach())

    def forward(self, hidden: Tensor) -> Tensor:
        """Maps `hidden [N, K, in_features]` to logits `[N, K]`."""
        if self.towers is not None:
            hidden = self.towers(hidden).squeeze(2)
        return torch.einsum("nkd,kd->nk", hidden, self.weight) + self.bias
