"""A recorder for the CPU: it replays operations, on the same tensors, without the function that asked for them."""

from __future__ import annotations

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

    def collectives(self) -> list[tuple[str, int]]:
        """Returns the collective calls, and the bytes of what this rank gives to each."""
        calls = [(func.__name__.split("_.")[0], args) for func, args, *_ in self.operations if func.namespace == "c10d"]
        given = [(name, args[1] if name == "allgather" else args[0]) for name, args in calls]
        return [(name, sum(t.numel() * t.element_size() for t in tensors)) for name, tensors in given]

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
        collectives: Of each function that was recorded, its collective calls in their order: the name, and the bytes
            of what a rank sends.
        refuses: Why it records nothing.
    """

    def __init__(self) -> None:
        self.recorded = self.replays = 0
        self.found: list[str] = []
        self.watched: list[bool] = []
        self.collectives: list[list[tuple[str, int]]] = []
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
        self.collectives.append(tape.collectives())
        is_first = True

        def replay() -> None:
            nonlocal is_first
            self.replays += 1
            if not is_first:
                with as_on_a_device():
                    tape.play()
            is_first = False

        return Recording(replay, result)
