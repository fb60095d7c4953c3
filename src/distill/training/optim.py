"""Builds the optimiser of a model: AdamW for dense parameters, touched-row updates for embedding tables."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import nn
from torch.optim import AdamW, Optimizer, SparseAdam

from distill.errors import ConfigError
from distill.features import EmbeddingTables
from distill.training.combined import CombinedOptimizer
from distill.training.rowwise_adagrad import RowwiseAdagrad


def table_parameters(module: nn.Module) -> list[nn.Parameter]:
    """Returns the trainable parameters with sparse gradients: the rows of the fused embedding tables."""
    tables = [m for m in module.modules() if isinstance(m, EmbeddingTables) and m.sparse]
    return [p for table in tables for p in table.parameters() if p.requires_grad]


@dataclass(frozen=True)
class OptimizerFactory:
    """Which optimisers a model is trained with.

    Attributes:
        lr: Learning rate of dense parameters.
        weight_decay: Decoupled weight decay of dense parameters with two or more dimensions.
        betas: Of AdamW.
        embedding: Optimiser of the embedding tables.
        embedding_lr: Learning rate of the embedding tables.
        clip_norm: Dense gradients are clipped to this norm; 0 switches it off.
    """

    lr: float
    weight_decay: float
    betas: tuple[float, float]
    embedding: Literal["rowwise_adagrad", "sparse_adam"]
    embedding_lr: float
    clip_norm: float

    def __post_init__(self) -> None:
        if self.embedding not in ("rowwise_adagrad", "sparse_adam"):
            raise ConfigError(
                "Unknown optimiser of the embedding tables.",
                where="optimizer.embedding",
                expected="rowwise_adagrad or sparse_adam",
                found=str(self.embedding),
            )
        if self.lr <= 0 or self.embedding_lr <= 0 or self.weight_decay < 0 or self.clip_norm < 0:
            raise ConfigError(
                "Optimiser values are out of range.",
                where="optimizer",
                expected="lr > 0, embedding_lr > 0, weight_decay ≥ 0, clip_norm ≥ 0",
                found=str(self),
            )

    def build(self, module: nn.Module) -> CombinedOptimizer:
        """Returns one optimiser for all trainable parameters of `module`."""
        tables = table_parameters(module)
        in_tables = {id(p) for p in tables}
        dense = [p for p in module.parameters() if p.requires_grad and id(p) not in in_tables]
        groups = [
            {"params": [p for p in dense if p.dim() > 1], "weight_decay": self.weight_decay},
            {"params": [p for p in dense if p.dim() <= 1], "weight_decay": 0.0},
        ]
        parts: dict[str, Optimizer] = {
            "dense": AdamW(groups, lr=self.lr, betas=(self.betas[0], self.betas[1]), fused=True)
        }
        if tables and self.embedding == "rowwise_adagrad":
            parts["tables"] = RowwiseAdagrad(tables, lr=self.embedding_lr)
        elif tables:
            parts["tables"] = SparseAdam(tables, lr=self.embedding_lr)
        return CombinedOptimizer(parts)
