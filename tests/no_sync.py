"""Finds operations that would make the host wait for a GPU, where there is none: by what is called, not by how long."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

import distill
from distill.ops.waiting import as_on_a_device

_PACKAGE = str(Path(distill.__file__).parent)
_OF_HOSTS = "ops/hosts.py"  # whose tensors are the hosts' own

_WAITS = {
    *("_local_scalar_dense", "item", "is_nonzero", "equal", "allclose"),
    *("nonzero", "masked_select", "masked_scatter_backward", "argwhere", "bincount", "histc", "isin"),
    *("_unique", "_unique2", "unique_dim", "unique_consecutive", "unique_dim_consecutive"),
    *("_coalesce", "coalesce", "sparse_mask", "to_sparse", "multinomial"),
}
_INDEXES = {"index", "index_put", "index_put_", "_index_put_impl_", "_unsafe_index", "_unsafe_index_put"}
_METHODS = ("tolist", "numpy", "cpu", "__array__")  # of a CPU tensor, these call no operation


class Waits(TorchDispatchMode):
    """Writes down what would wait, and the place in the package that asked for it.

    Attributes:
        found: `operation at file:line` of each, in order, and again each time.
    """

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if (why := why_it_waits(func, args, kwargs)) is not None:
            self.note(why)
        return func(*args, **kwargs)

    def note(self, what: str) -> None:
        """Writes one down."""
        if not (place := _place()).startswith(_OF_HOSTS):
            self.found.append(f"{what} at {place}")


def why_it_waits(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str | None:
    """Says why an operation would wait, None if it would not."""
    name = func.overloadpacket.__name__
    if name in _WAITS:
        return str(name)
    if name == "lift_fresh":
        return "a tensor of host numbers"
    if name == "repeat_interleave" and kwargs.get("output_size") is None and not _has_number(func, args):
        return "repeat_interleave without output_size"
    if name in _INDEXES and any(_is_mask(index) for index in args[1]):
        return f"{name} by a mask"
    if name == "segment_reduce" and not kwargs.get("unsafe", False):
        return "segment_reduce that checks"
    return None


def _has_number(func: Any, args: tuple[Any, ...]) -> bool:
    return "int" in func._overloadname


def _is_mask(index: Any) -> bool:
    return isinstance(index, Tensor) and index.dtype in (torch.bool, torch.uint8)


def _place() -> str:
    frame = sys._getframe(2)
    while frame is not None:
        name = frame.f_code.co_filename
        if name.startswith(_PACKAGE) and not name.endswith("waiting.py"):
            return f"{name[len(_PACKAGE) + 1 :]}:{frame.f_lineno} {frame.f_code.co_name}"
        frame = frame.f_back  # type: ignore[assignment]
    return "outside the package"


@contextmanager
def waits() -> Iterator[list[str]]:
    """Collects what would wait within, as the package runs on a device."""
    mode = Waits()
    with ExitStack() as stack:
        for name in _METHODS:
            stack.enter_context(patch.object(torch.Tensor, name, _noting(mode, name, getattr(torch.Tensor, name))))
        stack.enter_context(as_on_a_device())
        stack.enter_context(mode)
        yield mode.found


def _noting(mode: Waits, name: str, method: Callable[..., Any]) -> Callable[..., Any]:
    own = threading.get_ident()  # other threads make batches ready on the host

    def noted(self: Tensor, *args: Any, **kwargs: Any) -> Any:
        if threading.get_ident() == own:
            mode.note(name)
        return method(self, *args, **kwargs)

    return noted
