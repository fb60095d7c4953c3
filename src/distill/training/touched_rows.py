"""What optimisers of embedding tables share: they update the touched rows, and can be told to withhold a step."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

Closure = Callable[[], float] | None


def evaluated(closure: Closure) -> float | None:
    """Returns what a closure of an optimiser's step returns; None without one."""
    if closure is None:
        return None
    with torch.enable_grad():
        return closure()


class TouchedRows(Optimizer):
    """An optimiser of parameters with sparse gradients.

    Attributes:
        found_inf: Scalar, above 0 where the step must not change anything; None if it always may.
    """

    found_inf: Tensor | None = None

    @torch.no_grad()
    def step(self, closure: Closure = None) -> Any:
        """Performs one update and returns what `closure`, if given, returns."""
        loss = evaluated(closure)
        for group in self.param_groups:
            for param in group["params"]:
                if param.grad is not None:
                    self.update(param, group)
        return loss

    @abstractmethod
    def update(self, param: Tensor, group: dict[str, Any]) -> None:
        """Updates the rows of a parameter that its gradient touches, by the options of its group."""
