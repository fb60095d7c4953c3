"""A small learned set of queries that stand for all items, and how much of each an item takes."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor, nn

from distill.errors import ConfigError
from distill.layers.checks import check_sizes

Assignment = Literal["soft", "hard"]


class MetaQueries(nn.Module):
    """Queries Q* = (Q Qᵀ) Q of a learned meta matrix Q `[M, D]`, and the weights k of an item over them.

    k = softmax(e Qᵀ / τ) with e = W x + b of the item's encoded fields x. With a hard assignment k is 1 at its largest
    value and 0 elsewhere, and its gradient is that of the softmax (straight-through). Q starts with rows of length one
    on average, so that Q* is about Q.

    Args:
        in_features: Width of x.
        num_queries: M.
        query_dim: Their width D.
        assignment: `soft` (an item takes a share of each query) or `hard` (it takes the nearest one).
        temperature: τ of the softmax over queries.

    Raises:
        ConfigError: A size is below 1, the assignment unknown or the temperature not positive.

    Reference: Xiong et al., "A Learnable Fully Interacted Two-Tower Model for Pre-Ranking System" (FIT), SIGIR 2025,
    arXiv:2509.12948, meta query module, read from summaries: Q* (attention without weights), the softmax, and the
    largest one at serving. Choices made here: e is a projection of all fields of the item; τ is fixed, where the
    paper's falls from 1 to about 0 in training, so that training and serving compute the same in both assignments.
    """

    def __init__(
        self, in_features: int, num_queries: int, query_dim: int, assignment: Assignment, temperature: float
    ) -> None:
        super().__init__()
        check_sizes("The meta matrix", {"num_queries": num_queries, "query_dim": query_dim})
        if assignment not in get_args(Assignment) or not temperature > 0:
            raise ConfigError(
                "The options of the item queries are wrong.",
                where="model.net.assignment, model.net.query_temperature",
                expected=f"assignment: {' or '.join(get_args(Assignment))}; query_temperature > 0",
                found=f"assignment: {assignment}, query_temperature: {temperature}",
            )
        self.assignment, self.temperature = assignment, temperature
        self.from_item = nn.Linear(in_features, query_dim)
        self.matrix = nn.Parameter(torch.randn(num_queries, query_dim) / query_dim**0.5)

    def queries(self) -> Tensor:
        """Returns Q* `[M, D]`."""
        queries: Tensor = self.matrix @ self.matrix.T @ self.matrix
        return queries

    def forward(self, x: Tensor) -> Tensor:
        """Maps items `[N, in_features]` to weights k `[N, M]`, which sum to 1."""
        shares: Tensor = (self.from_item(x) @ self.matrix.T / self.temperature).softmax(dim=1)
        if self.assignment == "soft":
            return shares
        place = torch.arange(shares.shape[1], device=shares.device)
        nearest = (place == shares.argmax(dim=1, keepdim=True)).to(shares.dtype)
        return nearest + (shares - shares.detach())


class QueryAttention(nn.Module):
    """Σ_l w_l h_l over the values h_1 … h_n of a sequence, with w = softmax(q W h_1 / √D_h … q W h_n / √D_h, 0).

    The last weight is on nothing: a sequence may matter little to a query, and an empty one gives 0.

    Args:
        query_dim: Width of q.
        width: Width D_h of a value.

    Reference: Vaswani et al., "Attention Is All You Need", 2017, arXiv:1706.03762, eq. 1 (one head, values as they
    are); the weight on nothing as in `TargetAttention`.
    """

    def __init__(self, query_dim: int, width: int) -> None:
        super().__init__()
        self.project = nn.Linear(query_dim, width, bias=False)

    def forward(self, queries: Tensor, values: Tensor, present: Tensor) -> Tensor:
        """Attends from M queries to R sequences.

        Args:
            queries: `[M, query_dim]`, the same for all sequences.
            values: Padded `[R, L, D_h]`.
            present: Which are values and not padding `[R, L]` bool.

        Returns:
            `[R, M, D_h]`.
        """
        asked = self.project(queries) / values.shape[2] ** 0.5
        scores = (asked @ values.transpose(1, 2)).masked_fill(~present.unsqueeze(1), float("-inf"))
        weights = torch.cat([scores, torch.zeros_like(scores[:, :, :1])], dim=2).softmax(dim=2)
        pooled: Tensor = weights[:, :, :-1].to(values.dtype) @ values
        return pooled
