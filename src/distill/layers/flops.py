"""Counts the arithmetic of a call."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode


def count_flops(call: Callable[[], object]) -> int:
    """Counts the floating-point operations of the matrix products that a call runs, two for each multiply-add.

    Nothing else counts: elementwise operations, reductions, gathers and embedding lookups are bound by memory. Divide
    by the rows of the call for the cost of a row.

    Args:
        call: Without arguments; run once.
    """
    custom: dict[Any, Any] = {
        torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention,
        torch.ops.aten.mv: _matrix_vector,
    }
    with torch.no_grad(), FlopCounterMode(display=False, custom_mapping=custom) as counter:
        call()
    return int(counter.get_total_flops())


def _attention(
    query: torch.Size,
    key: torch.Size,
    value: torch.Size,
    *_: object,
    attn_mask: object = None,
    scale: object = None,
    out_shape: object = None,
) -> int:
    batch, heads, length, width = query
    return 2 * batch * heads * length * key[2] * (width + value[3])


def _matrix_vector(matrix: torch.Size, vector: torch.Size, out_shape: object) -> int:
    return 2 * matrix[0] * matrix[1]
