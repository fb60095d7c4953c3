"""Records what a function asks a device for, so that it can be asked for again without the function."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

import torch

from distill.errors import ConfigError

T = TypeVar("T")
_WAITS = "synchronizing CUDA operation"  # what torch warns of
_OF_THE_MODE = "Synchronization debug mode"  # that it does not notice everything


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

    @property
    def refuses(self) -> str | None:
        """Why nothing can be recorded, after what has run; None if it may be tried."""

    def run(self, function: Callable[[], T], watched: bool = True) -> T:
        """Runs a function as it would be recorded; a function must have run once, watched, before it is recorded."""

    def record(self, function: Callable[[], T]) -> Recording[T]:
        """Records a function. What it asks the device for happens at the first replay, what it does beside now.

        Raises:
            CannotRecord: It waits for the device, or does something else that cannot be replayed.
        """


class GraphRecorder:
    """Records CUDA graphs, which share one pool of memory: no two of them run at once.

    Random numbers are those that the function would have drawn: torch moves its generator on at each replay. A function
    that waited for the device when it ran is not recorded: a recording that fails midway leaves torch's generator and
    allocator recording.

    Args:
        device: A GPU.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._pool: Any = None
        self._waited: list[str] = []

    @property
    def refuses(self) -> str | None:
        """See `Recorder.refuses`: a function waited for the device."""
        return f"the step waits for the device ({self._waited[0]})" if self._waited else None

    def run(self, function: Callable[[], T], watched: bool = True) -> T:
        """See `Recorder.run`; on the stream that records."""
        present = torch.cuda.current_stream(self._device)
        self._stream.wait_stream(present)
        with torch.cuda.stream(self._stream), waits_noticed(self._waited) if watched else nullcontext():
            result = function()
        present.wait_stream(self._stream)
        return result

    def record(self, function: Callable[[], T]) -> Recording[T]:
        """See `Recorder.record`.

        Raises:
            ConfigError: The device is of no use after a recording that failed.
        """
        if self.refuses is not None:
            raise CannotRecord(self.refuses)
        graph = torch.cuda.CUDAGraph()
        # Other threads (readers) may do as they like meanwhile.
        capture = torch.cuda.graph(graph, pool=self._pool, stream=self._stream, capture_error_mode="thread_local")
        try:
            with capture:
                result = function()
        except RuntimeError as error:
            self._check_device(error)
            raise CannotRecord(_first_line(error)) from error
        self._pool = graph.pool()
        return Recording(graph.replay, result)

    def _check_device(self, failed: RuntimeError) -> None:
        try:
            torch.rand(1, device=self._device)
        except RuntimeError as error:
            raise ConfigError(
                "A training step could not be captured, and torch cannot go on after the attempt.",
                where="trainer.capture",
                found=f"{_first_line(failed)}; then {_first_line(error)}",
                remedy="Set trainer.capture=off; resume=last goes on from the last checkpoint.",
            ) from failed


@contextmanager
def waits_noticed(found: list[str]) -> Iterator[None]:
    """Adds to a list where the host waits for a GPU within (file and line, as far as torch knows); warns of all else.

    Within `torch.cuda.set_sync_debug_mode("error")` a wait is the error that it was.
    """
    before = torch.cuda.get_sync_debug_mode()
    if before == 2:
        yield
        return
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            yield
        finally:
            torch.cuda.set_sync_debug_mode(before)
    for warning in warned:
        if _WAITS in str(warning.message):
            found.append(f"{warning.filename}:{warning.lineno}")
        elif _OF_THE_MODE not in str(warning.message):
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0]


def recorder_of(device: torch.device) -> Recorder | None:
    """Returns what records the steps of a device; None for one that is no GPU of CUDA."""
    return GraphRecorder(device) if device.type == "cuda" else None
