"""What optimisers of embedding tables share: they update the touched rows, and can be told to withhold a step."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer
from typing_extensions import Self

from distill.ops.rounding import computed_type
from distill.training.moved_rows import begin_draws
from distill.training.row_regularization import RowRegularization

Closure = Callable[[], float] | None


def evaluated(closure: Closure) -> float | None:
    """Returns what a closure of an optimiser's step returns; None without one."""
    if closure is None:
        return None
    with torch.enable_grad():
        return closure()


class TouchedRows(Optimizer):
    """An optimiser of parameters with sparse gradients, which may be stored in bfloat16: see `move_rows`.

    Attributes:
        found_inf: Scalar, above 0 where the step must not change anything; None if it always may.
        rates: Parameter to its `rate` as a scalar, where a step is recorded: whoever replays it sets them before each,
            and counts. None for the rates of the host.
        regularization: What keeps the rows small.
    """

    found_inf: Tensor | None = None
    rates: Mapping[Tensor, Tensor] | None = None
    regularization = RowRegularization()

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """See `Optimizer.add_param_group`."""
        super().add_param_group(param_group)
        self._begin()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restores a state in the types in which its numbers are computed with, where torch takes the parameters'."""
        super().load_state_dict(state_dict)
        for group, saved in zip(self.param_groups, state_dict["param_groups"], strict=True):
            for param, place in zip(group["params"], saved["params"], strict=True):
                for name, value in state_dict["state"].get(place, {}).items():
                    if isinstance(value, Tensor):
                        dtype = computed_type(param.dtype) if value.is_floating_point() else value.dtype
                        self.state[param][name] = value.to(param.device, dtype)
        self._begin()

    def _begin(self) -> None:
        params = (param for group in self.param_groups for param in group["params"])
        for number, param in enumerate(params):
            if param.dtype is not computed_type(param.dtype):
                begin_draws(param, self.state[param], number)

    def regularized(self, by: RowRegularization) -> Self:
        """Keeps the rows small from the first step on; returns itself."""
        self.regularization = by
        for param in (param for group in self.param_groups for param in group["params"]):
            by.begin(param, self.state[param])
        return self

    @torch.no_grad()
    def step(self, closure: Closure = None) -> Any:
        """Performs one update and returns what `closure`, if given, returns."""
        loss = evaluated(closure)
        for group in self.param_groups:
            for param in group["params"]:
                if param.grad is not None:
                    self._step(param, group)
        return loss

    def _step(self, param: Tensor, group: dict[str, Any]) -> None:
        self.regularization.penalise(param, self.state[param], self.found_inf)
        if self.rates is not None:
            self.update(param, group, self.rates[param])
        else:
            self.update(param, group, self.rate(param, group))
            self.count(param)
        self.regularization.limit(param, self.state[param], self.found_inf)

    def rate(self, param: Tensor, group: dict[str, Any]) -> float:
        """Returns the number that the next update of a parameter is multiplied by: its learning rate."""
        return float(group["lr"])

    def count(self, param: Tensor) -> None:
        """Notes, on the host, that a parameter was updated once more."""

    @abstractmethod
    def update(self, param: Tensor, group: dict[str, Any], rate: float | Tensor) -> None:
        """Updates the rows of a parameter that its gradient touches, by the options of its group and its rate."""
