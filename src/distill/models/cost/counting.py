"""Counts what a call computes and looks up."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from distill.features import EmbeddingTables
from distill.layers.flops import count_flops

_REDUCTIONS = frozenset(
    {
        torch.ops.aten.sum,
        torch.ops.aten.mean,
        torch.ops.aten.amax,
        torch.ops.aten.linalg_vector_norm,
        torch.ops.aten._softmax,
        torch.ops.aten.native_layer_norm,
        torch.ops.aten.native_batch_norm,
        torch.ops.aten.index_add,
        torch.ops.aten.cumsum,
        torch.ops.aten._embedding_bag_forward_only,
    }
)


@dataclass(frozen=True)
class Work:
    """What a call does.

    Attributes:
        flops: Floating-point operations: two for each multiply-add of a matrix product, one for each element that an
            elementwise operation writes or a reduction reads. Copies and gathers are none.
        lookups: Rows of embedding tables that are read.
    """

    flops: int
    lookups: int


def count_work(call: Callable[[], object], model: nn.Module) -> Work:
    """Counts the work of a call of a model or of a part of it.

    Args:
        call: Without arguments; run twice, without gradients.
        model: Has the embedding tables.
    """
    tables = [p for m in model.modules() if isinstance(m, EmbeddingTables) for p in m.parameters()]
    watch = _Watch(frozenset(p.untyped_storage().data_ptr() for p in tables))
    with torch.no_grad(), watch:
        call()
    return Work(count_flops(call) + watch.elements, watch.lookups)


class _Watch(TorchDispatchMode):  # type: ignore[no-untyped-call]
    def __init__(self, tables: frozenset[int]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._tables = tables
        self.elements, self.lookups = 0, 0

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        first = args[0] if args and isinstance(args[0], Tensor) else None
        if first is not None and first.untyped_storage().data_ptr() in self._tables:
            self.lookups += max((a.numel() for a in args[1:] if _is_index(a)), default=0)
        if torch.Tag.pointwise in func.tags and isinstance(out, Tensor) and out.is_floating_point():
            self.elements += out.numel()
        elif func.overloadpacket in _REDUCTIONS and first is not None and first.is_floating_point():
            self.elements += first.numel()
        return out


def _is_index(value: object) -> bool:
    return isinstance(value, Tensor) and value.dtype == torch.int64
