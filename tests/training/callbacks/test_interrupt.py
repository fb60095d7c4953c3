"""After a fit, however it ended, the signals are what they were before it."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from types import FrameType, SimpleNamespace
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.utils.data import DataLoader

from distill.ops.ranks import any_rank
from distill.ops.waiting import as_on_a_device
from distill.training.callbacks import CheckpointOnInterrupt, PlainSigterm, interrupt
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


@pytest.mark.parametrize(("ranks", "on_device", "agreed"), [(1, True, 6), (2, False, 6), (2, True, 3)])
def test_ranks_agree_where_that_does_not_wait_or_a_step_is_logged(
    ranks: int, on_device: bool, agreed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bool] = []

    def any_rank(value: bool, device: torch.device) -> bool:
        asked.append(value)
        return value

    monkeypatch.setattr(interrupt, "any_rank", any_rank)
    callback, module = CheckpointOnInterrupt(str(tmp_path), "resume=last", 2), Model()
    with as_on_a_device() if on_device else nullcontext():
        for step in range(1, STEPS + 1):
            there = SimpleNamespace(world_size=ranks, global_step=step)
            callback.on_train_batch_end(there, module, None, None, step - 1)  # type: ignore[arg-type]
    assert len(asked) == agreed


def test_one_process_alone_asks_no_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dist, "is_initialized", lambda: True)
    monkeypatch.setattr(dist, "get_world_size", lambda: 1)
    assert any_rank(True, torch.device("meta"))
    assert not any_rank(False, torch.device("meta"))
