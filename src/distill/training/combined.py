"""Several optimisers behind the interface of one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from distill.training.touched_rows import Closure, evaluated


class CombinedOptimizer(Optimizer):
    """Steps several optimisers together, so that a trainer and a schedule see one.

    `param_groups` are those of all of them (the same objects), so a schedule scales each group's own learning rate.

    Args:
        optimizers: Name to optimiser; together they hold every parameter once.
    """

    def __init__(self, optimizers: Mapping[str, Optimizer]) -> None:
        self.optimizers = dict(optimizers)
        groups = [group for optimizer in self.optimizers.values() for group in optimizer.param_groups]
        super().__init__(groups, {})
        self._share()

    def _share(self) -> None:
        self.param_groups = [group for optimizer in self.optimizers.values() for group in optimizer.param_groups]

    @torch.no_grad()
    def step(self, closure: Closure = None) -> Any:
        """Steps every optimiser once and returns what `closure`, if given, returns."""
        loss = evaluated(closure)
        for optimizer in self.optimizers.values():
            optimizer.step()
        return loss

    def withhold(self, flag: Tensor) -> None:
        """Leaves weights and states as they are in every step at which a scalar `flag` is above 0, without looking at
        it; fused optimisers of torch and those of tables understand it."""
        for optimizer in self.optimizers.values():
            optimizer.found_inf = flag  # type: ignore[attr-defined]  # torch's own name, as its gradient scaler sets it

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Clears the gradients of every optimiser."""
        for optimizer in self.optimizers.values():
            optimizer.zero_grad(set_to_none)

    def state_dict(self) -> dict[str, Any]:
        """Returns the states by name."""
        return {name: optimizer.state_dict() for name, optimizer in self.optimizers.items()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restores the states by name."""
        for name, optimizer in self.optimizers.items():
            optimizer.load_state_dict(state_dict[name])
        self._share()
