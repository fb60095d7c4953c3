"""Whoever imports it, and its forks, record steps on a CPU; at its end a process says how often they were replayed."""

from __future__ import annotations

import atexit
import os
import signal
from typing import Any

import torch
from torch import Tensor

from distill.training.capture import module
from distill.training.capture.module import CapturedModule
from tests.training.capture.tape import TapeRecorder

_STOP = "TESTS_STOP_RANK_1_BEFORE_STEP"
_made: list[TapeRecorder] = []
_training_step = CapturedModule.training_step


def _recorder(device: torch.device) -> TapeRecorder:
    _made.append(TapeRecorder())
    return _made[-1]


def _stopping(self: CapturedModule, batch: Any, batch_idx: int) -> Tensor:
    if os.environ.get(_STOP) == str(self.global_step) and os.environ["RANK"] == "1":
        os.kill(os.getpid(), signal.SIGINT)
    return _training_step(self, batch, batch_idx)


@atexit.register
def _say() -> None:
    print("replays:", *(recorder.replays for recorder in _made))
    counts = {len([1 for name, _ in calls if name == "allreduce"]) for r in _made for calls in r.collectives}
    print("all-reduces of a recorded step:", *sorted(counts))
    print("waits:", *sorted({place for recorder in _made for place in recorder.found}))


module.recorder_of = _recorder
CapturedModule.training_step = _stopping  # type: ignore[method-assign]
