"""Records what a function asks a device for, so that it can be asked for again without the function."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

import torch

T = TypeVar("T")


class CannotRecord(Exception):
    """The function does something that cannot be replayed, such as to wait for the device; nothing has changed there.

    Args:
        why: What the device said.
    """


@dataclass(frozen=True)
class Recording(Generic[T]):
    """What a function did.

    Attributes:
        replay: Does it again, on what the tensors hold by then that it read and did not make.
        result: What the function returned: its tensors are written again by each replay.
    """

    replay: Callable[[], object]
    result: T


class Recorder(Protocol):
    """Runs and records functions of the same device, whose shapes do not depend on values."""

    def run(self, function: Callable[[], T]) -> T:
        """Runs a function as it would be recorded; a function must have run once before it is recorded."""

    def record(self, function: Callable[[], T]) -> Recording[T]:
        """Records a function. What it asks the device for happens at the first replay, what it does beside now.

        Raises:
            CannotRecord: It waits for the device, or does something else that cannot be replayed.
        """


class GraphRecorder:
    """Records CUDA graphs, which share one pool of memory: no two of them run at once.

    Random numbers are those that the function would have drawn: torch moves its generator on at each replay.

    Args:
        device: A GPU.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._pool: Any = None

    def run(self, function: Callable[[], T]) -> T:
        """See `Recorder.run`; on the stream that records."""
        present = torch.cuda.current_stream(self._device)
        self._stream.wait_stream(present)
        with torch.cuda.stream(self._stream):
            result = function()
        present.wait_stream(self._stream)
        return result

    def record(self, function: Callable[[], T]) -> Recording[T]:
        """See `Recorder.record`."""
        graph = torch.cuda.CUDAGraph()
        # Other threads (readers) may do as they like meanwhile.
        capture = torch.cuda.graph(graph, pool=self._pool, stream=self._stream, capture_error_mode="thread_local")
        try:
            with capture:
                result = function()
        except RuntimeError as error:
            raise CannotRecord(f"{type(error).__name__}: {error}".splitlines()[0]) from error
        self._pool = graph.pool()
        return Recording(graph.replay, result)


def recorder_of(device: torch.device) -> Recorder | None:
    """Returns what records the steps of a device; None for one that is no GPU of CUDA."""
    return GraphRecorder(device) if device.type == "cuda" else None
