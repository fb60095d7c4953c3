"""One logit per task from a shared hidden vector."""

from __future__ import annotations

from torch import Tensor, nn


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
