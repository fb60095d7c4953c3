"""A recorder for the CPU: it replays operations, on the same tensors, without the function that asked for them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch._C._distributed_c10d import Work
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from distill.ops.waiting import as_on_a_device
from distill.training.capture.recorder import CannotRecord, Recording
from tests.no_sync import waits, why_it_waits

T = TypeVar("T")


class _Tape(TorchDispatchMode):
    """Writes operations down, collective ones too: each with the tensors that it was given, and those that it gave."""

    def __init__(self) -> None:
        super().__init__()
        self.operations: list[tuple[Any, tuple[Any, ...], dict[str, Any], list[Tensor]]] = []

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if (why := why_it_waits(func, args, kwargs or {})) is not None:
            raise CannotRecord(why)
        out = func(*args, **(kwargs or {}))
        made = [leaf for leaf in tree_leaves(out) if isinstance(leaf, Tensor) and not leaf.is_sparse]
        if func.namespace in ("aten", "c10d"):
            self.operations.append((func, args, kwargs or {}, made))
        return out

    @torch.no_grad()
    @torch.autocast("cpu", enabled=False)  # casts are written down too
    def play(self) -> None:
        """Does it all again, and puts what comes out where it was."""
        for func, args, kwargs, made in self.operations:
            out = func(*args, **kwargs)
            if func.namespace == "c10d":
                Work.unbox(out[-1]).wait()
            again = [leaf for leaf in tree_leaves(out) if isinstance(leaf, Tensor) and not leaf.is_sparse]
            for there, new in zip(made, again, strict=True):
                if there.untyped_storage()._cdata != new.untyped_storage()._cdata:
                    there.copy_(new)


class TapeRecorder:
    """As `GraphRecorder`, with what is known of a GPU: what the host decided while a function ran is decided for good,
    and what would wait for a device cannot be recorded.

    Attributes:
        recorded: How many functions were.
        replays: How often one was replayed.
        found: What would wait, of functions that ran.
        watched: Of each function that ran, whether it was watched.
        collectives: Of each function that was recorded, how often it makes which collective call.
        refuses: Why it records nothing.
    """

    def __init__(self) -> None:
        self.recorded = self.replays = 0
        self.found: list[str] = []
        self.watched: list[bool] = []
        self.collectives: list[Counter[str]] = []
        self.refuses: str | None = None

    def run(self, function: Callable[[], T], watched: bool = True) -> T:
        """See `Recorder.run`."""
        with waits() as found:
            result = function()
        self.found += found
        self.watched.append(watched)
        return result

    def record(self, function: Callable[[], T]) -> Recording[T]:
        """See `Recorder.record`; it happens now, and at the first replay nothing."""
        tape = _Tape()
        with as_on_a_device(), tape:
            result = function()
        self.recorded += 1
        self.collectives.append(Counter(func.__name__ for func, *_ in tape.operations if func.namespace == "c10d"))
        is_first = True

        def replay() -> None:
            nonlocal is_first
            self.replays += 1
            if not is_first:
                with as_on_a_device():
                    tape.play()
            is_first = False

        return Recording(replay, result)
