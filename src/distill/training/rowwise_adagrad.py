"""Adagrad with one accumulator per embedding row, updating touched rows only."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor
from typing_extensions import Self

from distill.errors import ConfigError
from distill.ops.rows import coalesced
from distill.training.moved_rows import move_rows
from distill.training.small_tables import SmallTables
from distill.training.touched_rows import TouchedRows


class RowwiseAdagrad(TouchedRows):
    """Updates G_r ← G_r + mean(g_r²), w_r ← w_r − lr·g_r / (√G_r + eps) on the rows of a sparse gradient.

    One float of state per row instead of one or two per weight. It is float32 of a table in bfloat16, and so is what is
    added to it and to the rows.

    Args:
        params: Two-dimensional parameters with sparse gradients, or these with their names.
        lr: Learning rate.
        eps: Added to the denominator.
        initial_accumulator: G_r before the first update; damps the first steps of a row.

    Attributes:
        small: Parameter to those of its rows that are updated by Adam instead.

    Raises:
        ConfigError: A gradient is not sparse.

    Reference: Duchi et al., "Adaptive Subgradient Methods", 2011; row-wise form as in the DLRM reference, 2019,
    arXiv:1906.00091.
    """

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[tuple[str, Tensor]],
        lr: float = 0.05,
        eps: float = 1e-8,
        initial_accumulator: float = 0.0,
    ) -> None:
        self.small: Mapping[Tensor, SmallTables] = {}
        super().__init__(params, {"lr": lr, "eps": eps, "initial_accumulator": initial_accumulator})
        for group in self.param_groups:
            for param in group["params"]:
                start = group["initial_accumulator"]
                dtype = torch.promote_types(param.dtype, torch.float32)
                self.state[param]["sum"] = torch.full((param.shape[0],), start, dtype=dtype, device=param.device)

    def beside(self, small: Mapping[Tensor, SmallTables]) -> Self:
        """Leaves small tables to Adam from the first step on; returns itself."""
        self.small = small
        for param, tables in small.items():
            tables.begin(param, self.state[param])
        return self

    def update(self, param: Tensor, group: dict[str, Any], rate: float | Tensor) -> None:
        """See `TouchedRows.update`."""
        grad = param.grad
        if grad is None or not grad.is_sparse:
            raise ConfigError("Row-wise Adagrad needs sparse gradients.", remedy="Use it for embedding tables only.")
        grad = coalesced(grad)
        rows, values = grad.indices()[0], grad.values()
        if param in self.small:
            values = self.small[param].update(param, self.state[param], (rows, values), rate, self.found_inf)
        if self.found_inf is not None:
            values = values.masked_fill(self.found_inf > 0, 0.0)
        total: Tensor = self.state[param]["sum"]
        total.index_add_(0, rows, values.square().mean(dim=1))
        touched = total.index_select(0, rows)
        step = values * (-rate / (touched.sqrt() + group["eps"])).unsqueeze(1)  # 0 on padding, which has row 0
        move_rows(param, rows, step, self.state[param], self.found_inf)
