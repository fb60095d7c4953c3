"""What a recorder of CUDA graphs notices; the recordings themselves are tested on a GPU."""

from __future__ import annotations

import warnings

import pytest
import torch

from distill.training.capture.recorder import waits_noticed


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
