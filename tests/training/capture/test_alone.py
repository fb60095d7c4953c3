"""A process that exchanges with itself computes what it computes without; `tests/gpu` does so over NCCL."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.training.capture.alone import exchanging, sharing_denominators
from tests.training.capture.test_steps import Run
from tests.training.test_no_sync import of_model


def test_recorded_steps_that_exchange_are_those_that_do_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without = Run(of_model("two_tower")).captured()
    with exchanging(tmp_path, "gloo", torch.device("cpu"), monkeypatch):
        run = Run(sharing_denominators(of_model("two_tower")))
        found = run.captured()
    torch.testing.assert_close(found, without, rtol=0, atol=0)
    for calls in run.recorder.collectives:
        assert [name for name, _ in calls] == ["allreduce", "allreduce", *["allgather"] * 4]
    assert len(run.recorder.collectives) >= 2
