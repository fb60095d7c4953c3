"""Adam on all rows of small embedding tables, which lie within a fused one."""

from __future__ import annotations

from collections.abc import Iterable, MutableMapping
from typing import Any

import torch
from torch import Tensor, nn

from distill.features import EmbeddingTables
from distill.training.moved_rows import move_rows

_FIRST, _SECOND, _STEPS = "small_avg", "small_avg_sq", "small_steps"
SMALL_STATE = frozenset({_FIRST, _SECOND, _STEPS})
"""Names of the state: moments `[S, D]` of the rows of small tables, one table behind the other, and the steps."""

_EPS = 1e-8


class SmallTables:
    """The small tables in a fused table `[V, D]`, and their updates.

    They are those of `torch.optim.Adam` on a parameter of these rows with a dense gradient: of rows that a step does
    not touch, the moments fade and move the row on. A step costs as much as one that touches all of their S rows.

    Args:
        param: The fused table.
        places: First row and number of rows of each small table.
        betas: Of Adam.
        ratio: Learning rate of these rows, as a multiple of the rate of the others.
    """

    def __init__(
        self, param: Tensor, places: Iterable[tuple[int, int]], betas: tuple[float, float], ratio: float
    ) -> None:
        known, device = sorted(set(places)), param.device
        self._starts = torch.tensor([first for first, _ in known], device=device)
        self._sizes = torch.tensor([size for _, size in known], device=device)
        self._bases = self._sizes.cumsum(0) - self._sizes
        self._rows = torch.cat([torch.arange(first, first + size) for first, size in known]).to(device)
        self._betas = betas
        self._ratio = ratio

    def begin(self, param: Tensor, state: MutableMapping[str, Any]) -> None:
        """Makes the state, at least of float32, which counts steps exactly up to 2²⁴ of them."""
        zero = torch.zeros((), dtype=torch.promote_types(param.dtype, torch.float32), device=param.device)
        for name in (_FIRST, _SECOND):
            state[name] = zero.new_zeros(self._rows.shape[0], param.shape[1])
        state[_STEPS] = zero

    def update(
        self,
        param: Tensor,
        state: MutableMapping[str, Any],
        gradient: tuple[Tensor, Tensor],
        rate: float | Tensor,
        withheld: Tensor | None,
    ) -> Tensor:
        """Updates the rows of small tables.

        Args:
            param: The fused table.
            state: Of it.
            gradient: Its rows `[u]` int64, each once but for padding, and their values `[u, D]`.
            rate: Of the rows of other tables.
            withheld: Scalar, above 0 where the step must not change anything; None if it always may.

        Returns:
            The values, with 0 instead of those of small tables.
        """
        first, second, steps = state[_FIRST], state[_SECOND], state[_STEPS]
        slot, inside = self._slots(gradient[0])
        dense = first.new_zeros(first.shape[0] + 1, first.shape[1])
        dense = dense.index_add_(0, slot, gradient[1].to(first.dtype))[:-1]
        goes = torch.ones_like(steps) if withheld is None else (withheld <= 0).to(steps.dtype)
        stays = goes == 0
        dense = dense.masked_fill(stays, 0.0)
        steps += goes
        first.lerp_(dense, goes * (1 - self._betas[0]))
        second.lerp_(dense.square(), goes * (1 - self._betas[1]))
        first_bias, second_bias = (1 - beta**steps for beta in self._betas)
        change = first / first_bias / ((second / second_bias).sqrt_() + _EPS) * (-self._ratio * rate)
        move_rows(param, self._rows, change.masked_fill(stays, 0.0), state, withheld)
        return gradient[1].masked_fill(inside.unsqueeze(1), 0.0)

    def _slots(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the place of each row in the moments, S of a row of another table; and which have one."""
        table = (torch.searchsorted(self._starts, rows, right=True) - 1).clamp_(min=0)
        within = rows - self._starts.index_select(0, table)
        inside = (within >= 0) & (within < self._sizes.index_select(0, table))
        return torch.where(inside, self._bases.index_select(0, table) + within, self._rows.shape[0]), inside


def small_places(module: nn.Module, rows: int) -> dict[Tensor, list[tuple[int, int]]]:
    """Finds the tables of a model with at most so many rows: fused table to first row and number of rows of each."""
    found: dict[Tensor, list[tuple[int, int]]] = {}
    for tables in (m for m in module.modules() if isinstance(m, EmbeddingTables)):
        for place in tables.places.values():
            if place.size <= rows:
                found.setdefault(tables.weights[str(place.width)], []).append((place.first, place.size))
    return found
