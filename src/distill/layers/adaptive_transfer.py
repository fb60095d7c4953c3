"""AITM: each task of a chain reads, beside its own tower, what the task before it has found."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from distill.layers.checks import check_sizes
from distill.layers.experts import Experts
from distill.layers.mlp import MLP


class AdaptiveTransfer(nn.Module):
    """z = Σ_u w_u h_1(u) over u ∈ {p, q}, with w = softmax(⟨h_2(u), h_3(u)⟩ / √D) and h_1, h_2, h_3 linear.

    Args:
        width: D of both vectors.

    Reference: Xi et al., "Modeling the Sequential Dependence among Audience Multi-step Conversions with Multi-task
    Learning in Targeted Display Advertising", KDD 2021, arXiv:2105.08489, section 3.3 (AIT module).
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width
        self.value, self.query, self.key = (nn.Linear(width, width) for _ in range(3))

    def forward(self, earlier: Tensor, own: Tensor) -> Tensor:
        """Maps what the task before says, `p [B, D]`, and the task's own vector `q [B, D]` to `z [B, D]`."""
        both = torch.stack([earlier, own], dim=1)
        scores = (self.query(both) * self.key(both)).sum(2, keepdim=True) / math.sqrt(self.width)
        mixed: Tensor = (scores.softmax(1) * self.value(both)).sum(1)
        return mixed


class AITM(nn.Module):
    """z_1 = q_1 and z_k = AIT(g_k(z_{k-1}), q_k), with q_k = MLP_k(x) and g_k = relu(W z + b): tasks in their order.

    The tasks follow one another as the schema lists them: impression → click → purchase.

    Args:
        in_features: Width of x.
        num_tasks: K.
        hidden_units: Widths of each task's MLP.
        dropout: Of the MLPs.

    Reference: Xi et al., 2021, arXiv:2105.08489, section 3.3. Its calibrator is `CalibratedTasks`.
    """

    def __init__(self, in_features: int, num_tasks: int, hidden_units: Sequence[int], dropout: float = 0.0) -> None:
        super().__init__()
        check_sizes("AITM", {"num_tasks": num_tasks})
        self.towers = Experts(num_tasks, 1, in_features, hidden_units, "relu", dropout)
        self.out_features = self.towers.out_features
        later = range(num_tasks - 1)
        self.given = nn.ModuleList(MLP(self.out_features, [self.out_features], dropout=dropout) for _ in later)
        self.transfers = nn.ModuleList(AdaptiveTransfer(self.out_features) for _ in later)

    def forward(self, x: Tensor) -> Tensor:
        """Maps `x [B, in_features]` to `[B, K, hidden_units[-1]]`."""
        vector, *others = self.towers(x.unsqueeze(1)).squeeze(2).unbind(1)
        vectors = [vector]
        for given, transfer, own in zip(self.given, self.transfers, others, strict=True):
            vector = transfer(given(vector), own)
            vectors.append(vector)
        return torch.stack(vectors, dim=1)
