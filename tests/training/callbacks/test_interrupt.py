"""After a fit, however it ended, the signals are what they were before it."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from distill.training.callbacks import CheckpointOnInterrupt, PlainSigterm
from distill.training.checkpoint_io import AtomicCheckpointIO, read_checkpoint

STEPS = 6


class Model(pl.LightningModule):
    """One weight, and something that happens in the third step."""

    def __init__(self, event: Any = None) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.event = event

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        if batch_idx == 2 and self.event is not None:
            self.event()
        return (self.weight * batch).sum()

    def test_step(self, batch: Tensor, batch_idx: int) -> None:
        if self.event is not None:
            self.event()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), 0.1)


def mine(number: int, frame: FrameType | None) -> None:
    raise InterruptedError(f"signal {number}")


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """Handlers of the test's own before and the true ones after it."""
    before = {number: signal.signal(number, mine) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def trainer(folder: Path, *callbacks: pl.Callback) -> pl.Trainer:
    return pl.Trainer(
        default_root_dir=folder,
        accelerator="cpu",
        max_epochs=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        plugins=[AtomicCheckpointIO()],
        callbacks=list(callbacks),
    )


def fit(folder: Path, event: Any = None) -> None:
    data = DataLoader(torch.ones(STEPS, 1))
    trainer(folder, CheckpointOnInterrupt(str(folder), "resume=last")).fit(Model(event), data)


def assert_mine() -> None:
    assert signal.getsignal(signal.SIGINT) is mine
    assert signal.getsignal(signal.SIGTERM) is mine


def test_after_a_fit_that_ended(tmp_path: Path) -> None:
    fit(tmp_path)
    assert_mine()


def test_after_a_fit_that_failed(tmp_path: Path) -> None:
    def fail() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        fit(tmp_path, fail)
    assert_mine()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_after_a_fit_that_was_interrupted(tmp_path: Path, number: int) -> None:
    with pytest.raises(SystemExit):
        fit(tmp_path, lambda: os.kill(os.getpid(), number))
    assert_mine()
    assert read_checkpoint(tmp_path / "last.ckpt")["global_step"] == 3


def test_a_second_signal_does_what_it_did_before_and_writes_nothing(tmp_path: Path) -> None:
    def twice() -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(InterruptedError):
        fit(tmp_path, twice)
    assert_mine()
    assert not (tmp_path / "last.ckpt").exists()


def test_sigterm_during_a_test_is_not_lightnings(tmp_path: Path) -> None:
    model = Model(lambda: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(InterruptedError):
        trainer(tmp_path, PlainSigterm()).test(model, DataLoader(torch.ones(2, 1)), verbose=False)
    assert_mine()
