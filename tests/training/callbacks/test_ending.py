"""How a fit ends by its metric: values that are not there count for nothing, and why it ended is known."""

from __future__ import annotations

import logging
import math
from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from distill.training.callbacks import BestCheckpoint, CheckMonitor, Ending, LastCheckpoint, Patience, Validated
from distill.training.callbacks.ending import ending_of
from distill.training.checkpoint_io import AtomicCheckpointIO, read_checkpoint

NAN = math.nan


class Model(pl.LightningModule):
    """One weight; its validations have given values, one an epoch."""

    def __init__(self, values: tuple[float, ...]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.values = values

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        return (self.weight * batch).sum()

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        self.log("val/auc", self.values[self.current_epoch])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), 0.1)


def fitted(
    folder: Path,
    values: tuple[float, ...],
    mode: str = "max",
    epochs: int | None = None,
    max_steps: int = -1,
    resume: Path | None = None,
    cycles: tuple[int, ...] | None = None,
    every: int = 1,
) -> tuple[pl.Trainer, BestCheckpoint]:
    """Fits with patience 2."""
    best = BestCheckpoint(folder, "val/auc", mode)
    run = pl.Trainer(
        default_root_dir=folder,
        callbacks=[
            CheckMonitor("val/auc", "student"),
            best,
            LastCheckpoint(folder),
            Patience("val/auc", mode, 2, 0.0, cycles),
            Validated(),
        ],
        plugins=[AtomicCheckpointIO()],
        max_epochs=len(values) if epochs is None else epochs,
        max_steps=max_steps,
        check_val_every_n_epoch=every,
        accelerator="cpu",
        num_sanity_val_steps=0,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    data = DataLoader(torch.ones(2, 1))  # type: ignore[arg-type]
    run.fit(Model(values), data, data, ckpt_path=resume)
    return run, best


def ending(run: pl.Trainer, best: BestCheckpoint, epochs: int) -> Ending:
    return ending_of(run, read_checkpoint(Path(best.best_model_path)), "val/auc", epochs)


@pytest.mark.parametrize("missing", [NAN, math.inf, -math.inf])
@pytest.mark.parametrize("mode", ["max", "min"])
def test_a_validation_without_a_value_is_neither_the_best_nor_an_end(
    tmp_path: Path, missing: float, mode: str, caplog: pytest.LogCaptureFixture
) -> None:
    values = (missing, 0.5, missing, missing, missing, 0.5)
    with caplog.at_level(logging.WARNING):
        run, best = fitted(tmp_path, values, mode)
    found = ending(run, best, 6)
    assert run.current_epoch == 6
    assert (found.reason, found.best_epoch, found.undefined) == ("max_epochs", 2, 4)
    assert found.best_value == pytest.approx(0.5)
    warnings = [message for message in caplog.messages if "val/auc of the student" in message]
    assert [f"after epoch {epoch} (step {2 * epoch})" in warnings[i] for i, epoch in enumerate((1, 3, 4, 5))] == [
        True
    ] * 4


def test_without_any_value_there_is_no_best_checkpoint(tmp_path: Path) -> None:
    run, best = fitted(tmp_path, (NAN, NAN, NAN, NAN))
    assert run.current_epoch == 4
    assert best.best_model_path == ""
    assert [path.name for path in tmp_path.glob("*.ckpt")] == ["last.ckpt"]
    found = ending_of(run, read_checkpoint(tmp_path / "last.ckpt"), "val/auc", 4)
    assert (found.best_value, found.undefined) == (None, 4)
    assert "the last weights are used" in found.says("student", 4, 8, "last.ckpt")


def test_patience_is_the_reason(tmp_path: Path) -> None:
    run, best = fitted(tmp_path, (0.4, 0.6, 0.5, NAN, 0.5, 0.9))
    found = ending(run, best, 6)
    assert (found.reason, found.best_epoch, found.best_step) == ("patience", 2, 4)
    said = found.says("control", run.current_epoch, run.global_step, "best.ckpt")
    assert "control   ended after 5 of 6 epochs (10 steps)" in said
    assert "callbacks.patience" in said
    assert "best: val/auc 0.6000 after epoch 2 (step 4)" in said
    assert said.endswith(", best.ckpt")


def test_a_cycle_of_the_learning_rate_is_not_broken_off(tmp_path: Path) -> None:
    values = (0.4, 0.5, 0.6, 0.5, 0.5, 0.5, 0.7, 0.6, 0.6, 0.6, 0.6, 0.6, 0.6, 0.6, 0.6, 0.9)
    run, best = fitted(tmp_path, values, cycles=(1, 3, 7, 15, 16))
    found = ending(run, best, 16)
    assert (found.reason, found.best_epoch, run.current_epoch) == ("patience", 7, 15)
    again, _ = fitted(tmp_path, values, cycles=(1, 3, 7, 15, 16), resume=tmp_path / "last.ckpt")
    assert again.current_epoch == 15


def test_a_cycle_may_end_between_two_validations(tmp_path: Path) -> None:
    values = (0.7, 0.7, *[0.6] * 6, 0.9, 0.9)
    run, best = fitted(tmp_path, values, cycles=(1, 3, 7, 10), every=2)
    assert ending(run, best, 10).reason == "patience"
    assert run.current_epoch == 8  # validated after 2, 4, 6 and 8 epochs: the cycle that ended after 7 is seen there


@pytest.mark.parametrize(("max_steps", "reason"), [(4, "max_steps"), (-1, "max_epochs")])
def test_a_planned_end_is_the_reason(tmp_path: Path, max_steps: int, reason: str) -> None:
    assert ending(*fitted(tmp_path, (0.4, 0.6, 0.7), max_steps=max_steps), 3).reason == reason


def test_a_fit_that_ran_out_of_patience_trains_no_further(tmp_path: Path) -> None:
    values = (0.6, 0.5, 0.4, 0.9, 0.9)
    first, _ = fitted(tmp_path, values)
    again, best = fitted(tmp_path, values, resume=tmp_path / "last.ckpt")
    assert first.current_epoch == again.current_epoch == 3
    assert again.global_step == 6
    assert ending(again, best, 5).reason == "patience"


def test_a_moved_folder_keeps_its_best(tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    values = (0.6, 0.5, 0.55)
    fitted(here, values, epochs=2)
    here.rename(there)
    run, best = fitted(there, values, epochs=3, resume=there / "last.ckpt")
    assert Path(best.best_model_path) == (there / "best.ckpt").resolve()
    assert ending(run, best, 3).best_epoch == 1
    assert not here.exists()


@pytest.mark.parametrize("value", [0.0, -0.25])
def test_a_best_value_of_zero_is_a_value(value: float) -> None:
    ending = Ending("patience", 9, "val/ndcg", best_epoch=2, best_step=20, best_value=value, undefined=3)
    assert f"best: val/ndcg {value:.4f} after epoch 2 (step 20); it had no value in 3 validations" in ending.says(
        "student", 5, 50, "x"
    )
