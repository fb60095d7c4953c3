"""The optimiser of sharded embedding tables: TorchRec's fused row-wise Adagrad, driven as any other optimiser."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from distill.features import ShardedTables
from distill.training.touched_rows import Closure, evaluated

_EPS = 1e-8


class ShardedAdagrad(Optimizer):
    """Does what `RowwiseAdagrad` does to whole tables; their states in checkpoints are interchangeable.

    All ranks step together, and get the state of all together: rank 0 holds it whole in host memory.

    Args:
        tables: The tables of a model, by their names in it.
        lr: Learning rate.

    Attributes:
        found_inf: Scalar, above 0 where the step must not change anything; None if it always may.
    """

    found_inf: Tensor | None = None

    def __init__(self, tables: Mapping[str, ShardedTables], lr: float) -> None:
        self._tables = tuple(tables.values())
        self._names = [f"{name}.weights.{width}" for name, of in tables.items() for width in of.widths]
        nothing = nn.Parameter(torch.empty(0), requires_grad=False)  # an optimiser must have a parameter
        super().__init__([("", nothing)], {"lr": lr, "eps": _EPS, "initial_accumulator": 0.0})

    def step(self, closure: Closure = None) -> Any:
        """Performs one update and returns what `closure`, if given, returns."""
        loss = evaluated(closure)
        group = self.param_groups[0]
        if self.found_inf is not None and bool(self.found_inf > 0):
            self.zero_grad()
            return loss
        for tables in self._tables:
            tables.apply_gradients(float(group["lr"]), float(group["eps"]))
        return loss

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Drops the gradients of lookups since the last update."""
        for tables in self._tables:
            tables.forget_gradients()

    def state_dict(self) -> dict[str, Any]:
        """Returns the state as `RowwiseAdagrad` does; empty accumulators on other ranks than 0."""
        sums = [total for tables in self._tables for total in tables.accumulators()]
        (group,) = super().state_dict()["param_groups"]
        return {
            "state": {i: {"sum": total} for i, total in enumerate(sums)},
            "param_groups": [{**group, "params": list(range(len(sums))), "param_names": self._names}],
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restores the state of this or of a `RowwiseAdagrad`."""
        (group,) = state_dict["param_groups"]
        own = {key: value for key, value in group.items() if key not in ("params", "param_names")}
        self.param_groups[0].update(own)
        position = 0
        for tables in self._tables:
            tables.load_accumulators({i: state_dict["state"][position + i]["sum"] for i in range(len(tables.widths))})
            position += len(tables.widths)
