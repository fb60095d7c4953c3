"""One vector for all tasks, behind which each has layers of its own."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from distill.layers.checks import check_sizes
from distill.layers.mlp import MLP


class SharedBottom(nn.Module):
    """o_k = MLP(x) for every task k.

    Args:
        in_features: Width D of x.
        num_tasks: K.
        hidden_units: Widths of the MLP; none makes the identity, so that the tasks share embeddings alone.
        dropout: Of the MLP.

    Reference: Caruana, "Multitask Learning", 1997; Ma et al., "Modeling Task Relationships in Multi-task Learning with
    Multi-gate Mixture-of-Experts", KDD 2018, eq. 1.
    """

    def __init__(self, in_features: int, num_tasks: int, hidden_units: Sequence[int], dropout: float = 0.0) -> None:
        super().__init__()
        check_sizes("SharedBottom", {"num_tasks": num_tasks})
        self.num_tasks = num_tasks
        self.mlp = MLP(in_features, hidden_units, dropout=dropout)
        self.out_features = self.mlp.out_features

    def forward(self, x: Tensor) -> Tensor:
        """Maps `x [B, D]` to `[B, K, out_features]`."""
        shared: Tensor = self.mlp(x)
        return shared.unsqueeze(1).expand(-1, self.num_tasks, -1)
