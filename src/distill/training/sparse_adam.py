"""Adam that updates the touched rows of embedding tables only, without asking how many they are."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.optim import SparseAdam

from distill.ops.rounding import computed_type
from distill.ops.rows import coalesced, is_padding
from distill.training.moved_rows import move_rows
from distill.training.touched_rows import TouchedRows


class TouchedRowsAdam(TouchedRows, SparseAdam):
    """torch's `SparseAdam`, whose state and results it has, to the bit; it also takes the padded sums of `sum_rows`.

    torch's own looks its rows up as a sparse tensor, for which a GPU is waited for.
    """

    def rate(self, param: Tensor, group: dict[str, Any]) -> float:
        """Returns the learning rate, corrected for the moments' start at 0."""
        step = self.state.get(param, {}).get("step", 0) + 1
        first_bias, second_bias = (1 - beta**step for beta in group["betas"])
        return float(group["lr"] * math.sqrt(second_bias) / first_bias)

    def count(self, param: Tensor) -> None:
        """See `TouchedRows.count`."""
        if "step" in self.state[param]:  # it has been updated before
            self.state[param]["step"] += 1

    def update(self, param: Tensor, group: dict[str, Any], rate: float | Tensor) -> None:
        """See `TouchedRows.update`."""
        betas, eps = group["betas"], group["eps"]
        state = self.state[param]
        if "step" not in state:
            zeros = torch.zeros_like(param, dtype=computed_type(param.dtype))
            state |= {"step": 0, "exp_avg": zeros, "exp_avg_sq": zeros.clone()}
        assert param.grad is not None
        grad = coalesced(param.grad)
        rows, values = grad._indices()[0], grad._values()
        idle = is_padding(rows).unsqueeze(1)
        if self.found_inf is not None:
            idle = idle | (self.found_inf > 0)
        first = self._moved(state["exp_avg"], rows, values, 1 - betas[0], idle)
        second = self._moved(state["exp_avg_sq"], rows, values.pow(2), 1 - betas[1], idle)
        update = -rate * first.div_(second.sqrt_().add_(eps))
        move_rows(param, rows, update.masked_fill_(idle, 0.0), state, self.found_inf)

    def _moved(self, mean: Tensor, rows: Tensor, values: Tensor, share: float, idle: Tensor) -> Tensor:
        """Moves rows of a running mean a share of the way to new values; returns the new rows."""
        before = mean.index_select(0, rows)
        change = values.sub(before).mul_(share).masked_fill_(idle, 0.0)
        mean.index_add_(0, rows, change)
        return change.add_(before)
