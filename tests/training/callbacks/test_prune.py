"""A fit is stopped when its trial is given up, and checkpoints say how their model validated."""

from __future__ import annotations

from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from torch import Tensor, nn
from torch.utils.data import DataLoader

from distill.errors import ConfigError
from distill.training.callbacks import PruneTrial, Validated, validation_of
from distill.training.checkpoint_io import AtomicCheckpointIO, read_checkpoint

VALUES = (0.5, 0.7, 0.6, 0.4)


class Model(pl.LightningModule):
    """One weight; its validations have the values above, one an epoch."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        return (self.weight * batch).sum()

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        self.log_dict({"val/auc": VALUES[self.current_epoch], "other": 1.0})

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), 0.1)


def trainer(folder: Path, epochs: int, *callbacks: pl.Callback) -> pl.Trainer:
    best = ModelCheckpoint(folder, "best", monitor="val/auc", mode="max", save_last=True, enable_version_counter=False)
    return pl.Trainer(
        default_root_dir=folder,
        callbacks=[best, *callbacks],
        plugins=[AtomicCheckpointIO()],
        max_epochs=epochs,
        accelerator="cpu",
        num_sanity_val_steps=0,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )


def loader() -> DataLoader[Tensor]:
    return DataLoader(torch.ones(2, 1))  # type: ignore[arg-type]


def test_reports_each_validation_and_stops_when_told_to(tmp_path: Path) -> None:
    seen: list[tuple[int, float]] = []

    def report(step: int, value: float) -> bool:
        seen.append((step, round(value, 4)))
        return len(seen) == 2

    prune = PruneTrial("val/auc", report)
    run = trainer(tmp_path, 4, prune)
    run.fit(Model(), loader(), loader())
    assert seen == [(1, 0.5), (2, 0.7)]
    assert prune.pruned
    assert run.current_epoch == 2
    run.validate(Model(), loader(), verbose=False)
    assert len(seen) == 2  # a validation that is not of a fit is not reported


def test_goes_on_counting_from_a_checkpoint(tmp_path: Path) -> None:
    seen: list[int] = []
    for epochs in (2, 4):
        prune = PruneTrial("val/auc", lambda step, value: bool(seen.append(step)))
        last = tmp_path / "last.ckpt"
        run = trainer(tmp_path, epochs, prune)
        run.fit(Model(), loader(), loader(), ckpt_path=last if last.exists() else None)
        assert not prune.pruned
    assert seen == [1, 2, 3, 4]


def test_a_metric_that_is_not_measured_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="val/auc"):
        trainer(tmp_path, 1, PruneTrial("val/gauc", lambda step, value: False)).fit(Model(), loader(), loader())


def test_a_checkpoint_has_the_metrics_of_its_own_validation(tmp_path: Path) -> None:
    run = trainer(tmp_path, 4, Validated())
    run.fit(Model(), loader(), loader())
    run.save_checkpoint(tmp_path / "end.ckpt")
    found = {name: validation_of(read_checkpoint(tmp_path / f"{name}.ckpt", "meta")) for name in ("best", "end")}
    assert found == {"best": {"val/auc": pytest.approx(0.7)}, "end": {"val/auc": pytest.approx(0.4)}}
    assert validation_of({}) == {}
