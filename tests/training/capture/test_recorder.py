"""What a recorder of CUDA graphs notices; the recordings themselves are tested on a GPU."""

from __future__ import annotations

import warnings
from contextlib import nullcontext

import pytest
import torch

from distill.errors import ConfigError
from distill.training.capture.recorder import CannotRecord, GraphRecorder, waits_noticed


class Mode:
    """Stands for torch's mode, which is there on machines with a GPU alone."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, now: int) -> None:
        self.now = now
        monkeypatch.setattr(torch.cuda, "get_sync_debug_mode", lambda: self.now)
        monkeypatch.setattr(torch.cuda, "set_sync_debug_mode", self.set)

    def set(self, mode: int | str) -> None:
        self.now = {"default": 0, "warn": 1, "error": 2}.get(mode, mode)  # type: ignore[arg-type, assignment]
        warnings.warn("Synchronization debug mode is a prototype feature", stacklevel=1)


def wait() -> None:
    warnings.warn("called a synchronizing CUDA operation (Triggered internally at x.cpp:1.)", stacklevel=2)


def test_waits_are_noticed_and_other_warnings_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    mode = Mode(monkeypatch, 0)
    found: list[str] = []

    def run() -> None:
        with waits_noticed(found):
            assert mode.now == 1
            wait()
            warnings.warn("of mine", stacklevel=1)

    with pytest.warns(UserWarning, match="of mine"):
        run()
    assert mode.now == 0
    assert len(found) == 1
    assert found[0].startswith(f"{__file__}:")


def test_an_error_ends_the_mode_too(monkeypatch: pytest.MonkeyPatch) -> None:
    mode = Mode(monkeypatch, 0)
    with pytest.raises(ValueError, match="mine"), waits_noticed([]):
        raise ValueError("mine")
    assert mode.now == 0


def test_where_waits_are_errors_they_stay_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    mode = Mode(monkeypatch, 2)
    with waits_noticed([]):
        assert mode.now == 2


class NoStream:
    """Stands for a stream of a GPU."""

    def wait_stream(self, other: object) -> None:
        """Nothing to wait for."""


def recorder(monkeypatch: pytest.MonkeyPatch) -> GraphRecorder:
    for name in ("Stream", "current_stream"):
        monkeypatch.setattr(torch.cuda, name, lambda device: NoStream())
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: nullcontext())
    return GraphRecorder(torch.device("cpu"))


def test_what_waited_is_not_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    Mode(monkeypatch, 0)
    waits = recorder(monkeypatch)
    waits.run(wait)
    with pytest.raises(CannotRecord, match="waits for the device"):
        waits.record(wait)


def test_where_nothing_will_be_recorded_nothing_is_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    mode = Mode(monkeypatch, 0)
    modes: list[int] = []
    recorder(monkeypatch).run(lambda: modes.append(mode.now), watched=False)
    assert modes == [0]


@pytest.mark.parametrize("broken", [False, True])
def test_a_failed_recording_says_whether_training_can_go_on(monkeypatch: pytest.MonkeyPatch, broken: bool) -> None:
    def fails(*_: object, **__: object) -> None:
        raise RuntimeError("Offset increment outside graph capture")

    def function() -> None:
        raise RuntimeError("operation not permitted")

    fresh = recorder(monkeypatch)
    monkeypatch.setattr(torch.cuda, "CUDAGraph", object)
    monkeypatch.setattr(torch.cuda, "graph", lambda graph, **_: nullcontext())
    if broken:
        monkeypatch.setattr(torch, "rand", fails)
    with pytest.raises(ConfigError if broken else CannotRecord, match="operation not permitted"):
        fresh.record(function)
