"""Moves rows of an embedding table; those of a table in bfloat16 in float32, rounded at random."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from distill.ops.random import hashed_bits, hashed_number
from distill.ops.ranks import world_size
from distill.ops.rounding import stochastically_rounded

_DRAWS = "draws"
ROUNDING_STATE = frozenset({_DRAWS})
"""Names of the state of a table in bfloat16: a scalar int64 from which the next rounding is drawn."""


def begin_draws(param: Tensor, state: MutableMapping[str, Any], number: int) -> None:
    """Makes the state of a table in bfloat16, if it has none: it follows from the seed of torch on rank 0.

    Args:
        param: The table.
        state: Of it.
        number: Tells it from the others of its optimiser.
    """
    if _DRAWS in state:
        return
    start = hashed_number(torch.initial_seed(), number)
    state[_DRAWS] = torch.full((), start, dtype=torch.int64, device=param.device)
    if world_size() > 1:
        dist.broadcast(state[_DRAWS], src=0)


def move_rows(
    param: Tensor, rows: Tensor, change: Tensor, state: Mapping[str, Any], withheld: Tensor | None = None
) -> None:
    """Adds changes to rows of a table.

    To round to the nearest bfloat16 would lose every change below half of its last place, 2^-9 of a value, and with it
    most of what is learned late. So a row is rounded up or down at random, without bias. What is drawn depends on the
    state, the row and the column alone: ranks that make the same change have the same rows, to the bit, and so has a
    run that goes on. A row whose change is 0 stays as it is.

    Args:
        param: `[V, D]`.
        rows: `[u]` int64, each once, but for 0 behind the others, as `sum_rows` fills up.
        change: `[u, D]`; 0 of what is filled up.
        state: Of the table.
        withheld: Scalar, above 0 where the step must not change anything, and every change is 0; None if it always may.

    Reference: Zamirai et al., "Revisiting BFloat16 Training", 2020, arXiv:2010.06192 (stochastic rounding of weight
    updates). FBGEMM does so for tables in half precision, with draws of its own.
    """
    if param.dtype is not torch.bfloat16:
        param.index_add_(0, rows, change.to(param.dtype))
        return
    draws: Tensor = state[_DRAWS]
    moved = param.index_select(0, rows).float() + _alike(rows, change.float())
    param.index_copy_(0, rows, stochastically_rounded(moved, hashed_bits(draws, rows, param.shape[1])))
    draws += 1 if withheld is None else (withheld <= 0).to(draws.dtype)


def _alike(rows: Tensor, change: Tensor) -> Tensor:
    """Gives what is filled up, which stands for row 0, the change of row 0: all that is written there is the same."""
    is_zero = (rows == 0).unsqueeze(1)
    return torch.where(is_zero, torch.where(is_zero[:1], change[:1], 0.0), change)
