"""Builds the optimiser of a model: AdamW for dense parameters, touched-row updates for embedding tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

from distill.checks import require_integer, require_number
from distill.errors import ConfigError
from distill.features import EmbeddingTables, sharded_tables
from distill.training.combined import CombinedOptimizer
from distill.training.row_regularization import RowRegularization
from distill.training.rowwise_adagrad import RowwiseAdagrad
from distill.training.sharded_adagrad import ShardedAdagrad
from distill.training.small_tables import SmallTables, small_places
from distill.training.sparse_adam import TouchedRowsAdam
from distill.training.touched_rows import TouchedRows


def table_parameters(module: nn.Module) -> list[nn.Parameter]:
    """Returns the trainable parameters with sparse gradients, each once: the rows of the fused embedding tables."""
    tables = [m for m in module.modules() if isinstance(m, EmbeddingTables)]
    found = {id(p): p for table in tables for p in table.parameters() if p.requires_grad}
    return list(found.values())


def dense_parameters(module: nn.Module) -> dict[str, nn.Parameter]:
    """Returns the trainable parameters that are not of tables, by name."""
    tables = {id(p) for p in table_parameters(module)}
    return {name: p for name, p in module.named_parameters() if p.requires_grad and id(p) not in tables}


def count_weights(module: nn.Module) -> int:
    """Counts the weights of a module, those of sharded tables on all ranks together."""
    sharded = sum(tables.num_weights for tables in sharded_tables(module).values())
    return sharded + sum(p.numel() for p in module.parameters())


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
        rows: What keeps the rows of the embedding tables small.
        embedding_dense_rows: Tables with at most so many rows learn by Adam on all of them, with `lr`; 0: none does.
            `auto` stands for as many as a step has candidates, and is made a number before a factory is.
    """

    lr: float
    weight_decay: float
    betas: tuple[float, float]
    embedding: Literal["rowwise_adagrad", "sparse_adam"]
    embedding_lr: float
    clip_norm: float
    rows: RowRegularization = field(default_factory=RowRegularization)
    embedding_dense_rows: int | Literal["auto"] = 0

    def __post_init__(self) -> None:
        if self.embedding not in ("rowwise_adagrad", "sparse_adam"):
            raise ConfigError(
                "Unknown optimiser of the embedding tables.",
                where="optimizer.embedding",
                expected="rowwise_adagrad or sparse_adam",
                found=str(self.embedding),
            )
        for name, least in (("lr", 1e-12), ("embedding_lr", 1e-12), ("weight_decay", 0.0), ("clip_norm", 0.0)):
            require_number(f"optimizer.{name}", getattr(self, name), least, 1e12)
        if not isinstance(self.betas, (list, tuple)) or len(self.betas) != 2:
            raise ConfigError(
                "AdamW needs two betas.", where="optimizer.betas", expected="[beta1, beta2]", found=repr(self.betas)
            )
        for beta in self.betas:
            require_number("optimizer.betas", beta, 0.0, 1.0 - 1e-9)
        require_integer("optimizer.embedding_dense_rows", self.embedding_dense_rows, 0)
        if self.embedding_dense_rows and self.embedding != "rowwise_adagrad":
            raise ConfigError(
                "All tables already use Adam.",
                where="optimizer.embedding_dense_rows",
                expected="0 with optimizer.embedding=sparse_adam",
                found=str(self.embedding_dense_rows),
                remedy="Set one of them as it was: optimizer.embedding=rowwise_adagrad, or "
                "optimizer.embedding_dense_rows=0.",
            )

    def build(self, module: nn.Module) -> CombinedOptimizer:
        """Returns one optimiser for all trainable parameters of `module`; its state names them (`param_names`)."""
        in_tables = {id(p) for p in table_parameters(module)}
        named = [(name, p) for name, p in module.named_parameters() if p.requires_grad]
        tables = [(name, p) for name, p in named if id(p) in in_tables]
        dense = [(name, p) for name, p in named if id(p) not in in_tables]
        groups = [
            {"params": [(name, p) for name, p in dense if p.dim() > 1], "weight_decay": self.weight_decay},
            {"params": [(name, p) for name, p in dense if p.dim() <= 1], "weight_decay": 0.0},
        ]
        parts: dict[str, Optimizer] = {
            "dense": AdamW(groups, lr=self.lr, betas=(self.betas[0], self.betas[1]), fused=True)
        }
        sharded = sharded_tables(module)
        if sharded:
            self._check_sharded()
        if tables:
            parts["tables"] = self._of_tables(tables, module).regularized(self.rows)
        if sharded:
            parts["tables"] = ShardedAdagrad(sharded, lr=self.embedding_lr)
        return CombinedOptimizer(parts)

    def _of_tables(self, tables: Sequence[tuple[str, nn.Parameter]], module: nn.Module) -> TouchedRows:
        if self.embedding != "rowwise_adagrad":
            return TouchedRowsAdam(tables, lr=self.embedding_lr)
        places = small_places(module, int(self.embedding_dense_rows))
        ratio = self.lr / self.embedding_lr
        small: dict[Tensor, SmallTables] = {
            p: SmallTables(p, places[p], self.betas, ratio) for _, p in tables if p in places
        }
        return RowwiseAdagrad(tables, lr=self.embedding_lr).beside(small)

    def _check_sharded(self) -> None:
        if self.embedding != "rowwise_adagrad" or self.embedding_dense_rows:
            raise ConfigError(
                "Sharded embedding tables support only row-wise Adagrad.",
                where="optimizer.embedding, optimizer.embedding_dense_rows",
                expected="rowwise_adagrad and 0, or embedding=default",
                found=f"{self.embedding} and {self.embedding_dense_rows}",
            )
        if not self.rows.is_none:
            raise ConfigError(
                "Sharded embedding tables support neither L2 nor a maximum norm.",
                where="optimizer.embedding_l2, optimizer.embedding_max_norm",
                expected="0 and null, or embedding=default",
                found=f"{self.rows.embedding_l2:g} and {self.rows.embedding_max_norm}",
            )
