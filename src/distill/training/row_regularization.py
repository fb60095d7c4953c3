"""What keeps the rows of embedding tables small: L2, and a greatest norm."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from distill.arguments import Bundle
from distill.checks import require_number
from distill.errors import ConfigError
from distill.ops.rows import coalesced, sparse_rows
from distill.training.moved_rows import move_rows

_TOUCHED_AT, _STEPS = "touched_at", "steps"
ROW_COUNTS = frozenset({_TOUCHED_AT, _STEPS})
"""Names of the state of L2 over all steps: the step at which each row was touched last `[V]`, and the steps so far."""

_SMALLEST = 1e-12


@dataclass(frozen=True)
class RowRegularization(Bundle):
    """L2 and max-norm of the rows that a step touches: those whose gradient is not 0, of any rank.

    `touched` adds λ w_r to the gradient of each touched row, once, however often the step looks it up: the exact
    gradient of λ/2 Σ_r ‖w_r‖² over the touched rows. Over many steps, a row is penalised in proportion to how often
    it is touched, so rare ids less than frequent ones.

    `all` adds λ g w_r instead, with g the number of steps since the row was touched last, so that rare ids are
    penalised as much as frequent ones, for the evidence that they have more. It equals the gradient of
    λ/2 Σ_r ‖w_r‖² over all rows at every step, put off until a row is touched: exactly so for the steps in which it
    stood still, which it did as nothing else moves it; what is left out is that it would have become shorter
    meanwhile (terms of the order (rate · λ g)²) and the steps after it was touched for the last time.

    Either is part of the gradient that the optimiser scales, sums or averages, as `weight_decay` of torch's Adagrad
    and Adam; it is not a decoupled decay.

    Attributes:
        embedding_l2: λ.
        embedding_l2_steps: `touched` or `all`.
        embedding_max_norm: A touched row that is longer after the update is shortened to this norm (of a table in
            bfloat16, to what it is rounded to at random); None leaves it.
    """

    embedding_l2: float = 0.0
    embedding_l2_steps: Literal["touched", "all"] = "touched"
    embedding_max_norm: float | None = None

    def __post_init__(self) -> None:
        require_number("optimizer.embedding_l2", self.embedding_l2, 0.0, 1e12)
        if self.embedding_l2_steps not in ("touched", "all"):
            raise ConfigError(
                "Unknown steps of the L2 of embedding tables.",
                where="optimizer.embedding_l2_steps",
                expected="touched or all",
                found=str(self.embedding_l2_steps),
            )
        if self.embedding_max_norm is not None:
            require_number("optimizer.embedding_max_norm", self.embedding_max_norm, _SMALLEST, 1e12)

    @property
    def is_none(self) -> bool:
        """Whether rows are left alone."""
        return not self.embedding_l2 and self.embedding_max_norm is None

    def begin(self, param: Tensor, state: MutableMapping[str, Any]) -> None:
        """Makes the state that L2 over all steps needs, with the counts as float32: exact up to 2²⁴ steps."""
        if self.embedding_l2 and self.embedding_l2_steps == "all":
            state[_TOUCHED_AT] = torch.zeros(param.shape[0], device=param.device)
            state[_STEPS] = torch.zeros((), device=param.device)

    def penalise(self, param: Tensor, state: MutableMapping[str, Any], withheld: Tensor | None) -> None:
        """Adds L2 to the gradient of a fused table.

        Args:
            param: `[V, D]`, with a sparse gradient.
            state: Of the parameter.
            withheld: Scalar, above 0 where the step must not change anything; None if it always may.
        """
        if not self.embedding_l2 or param.grad is None:
            return
        grad = coalesced(param.grad)
        rows, values = grad._indices()[0], grad._values()
        moved = _moved(values, withheld)
        penalty = param.index_select(0, rows).to(values.dtype).mul_(self.embedding_l2)
        if self.embedding_l2_steps == "all":
            penalty *= _steps_since(rows, moved, state, withheld).unsqueeze(1)
        values = values + penalty.masked_fill_(~moved.unsqueeze(1), 0.0)
        param.grad = sparse_rows(rows, values, param.shape, coalesced=True)

    def limit(self, param: Tensor, state: Mapping[str, Any], withheld: Tensor | None) -> None:
        """Shortens the rows of a fused table that its gradient touched; arguments as of `penalise`."""
        if self.embedding_max_norm is None or param.grad is None:
            return
        grad = coalesced(param.grad)
        rows = grad._indices()[0]
        values = param.index_select(0, rows).to(grad.dtype)
        norm = values.norm(dim=1, keepdim=True).clamp_(min=_SMALLEST)
        excess = (self.embedding_max_norm / norm).clamp_(max=1.0).sub_(1.0)
        still = ~_moved(grad._values(), withheld).unsqueeze(1)
        move_rows(param, rows, values.mul_(excess).masked_fill_(still, 0.0), state, withheld)


def _moved(values: Tensor, withheld: Tensor | None) -> Tensor:
    """Says which rows of a gradient `[u, D]` are moved by it `[u]` bool: no padding, and none that do not learn."""
    moved = (values != 0).any(dim=1)
    return moved if withheld is None else moved & (withheld <= 0)


def _steps_since(rows: Tensor, moved: Tensor, state: MutableMapping[str, Any], withheld: Tensor | None) -> Tensor:
    """Counts a step; returns the steps since rows were touched last `[u]`, and notes that they are touched now."""
    steps, touched_at = state[_STEPS], state[_TOUCHED_AT]
    steps += 1 if withheld is None else (withheld <= 0).to(steps.dtype)
    since: Tensor = steps - touched_at.index_select(0, rows)
    touched_at.index_add_(0, rows, since.masked_fill(~moved, 0.0))
    return since
