"""A small model with a table, dense weights and both kinds of optimisers, for the callbacks around its weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from distill.features.lookup import embedding_rows
from distill.training.checkpoint_io import AtomicCheckpointIO
from distill.training.combined import CombinedOptimizer
from distill.training.rowwise_adagrad import RowwiseAdagrad

BATCHES = 7


class Model(pl.LightningModule):
    """Learns from the number of a batch alone, so that a run that goes on sees what it would have seen."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.model = nn.Sequential(nn.Embedding(5, 3, sparse=True), nn.BatchNorm1d(3), nn.Linear(3, 1))
        self.beside = nn.Linear(1, 1)
        self.trained: list[dict[str, Tensor]] = []  # weights after each optimiser step
        self.measured: list[dict[str, Tensor]] = []  # and in each validation

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        ids = torch.tensor([batch_idx % 5, (2 * batch_idx + 1) % 5, self.current_epoch % 5])
        loss: Tensor = (self.beside(self.model(ids)) - float(batch_idx)).square().mean()
        return loss

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        while len(self.trained) < self.trainer.global_step:
            self.trained.append(copied(self.model))

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        assert not self.model.training
        self.measured.append(copied(self.model))

    def configure_optimizers(self) -> CombinedOptimizer:
        table, *dense = self.named_parameters()
        return CombinedOptimizer(
            {"dense": torch.optim.AdamW(dense, lr=0.05), "tables": RowwiseAdagrad([table], lr=0.1)}
        )


class Stored(nn.Module):
    """A table in bfloat16."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(5, 3).bfloat16())

    def forward(self, ids: Tensor) -> Tensor:
        return embedding_rows(self.weight, ids)


class StoredModel(Model):
    """The model with such a table."""

    def __init__(self) -> None:
        super().__init__()
        self.model[0] = Stored()


def copied(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


def fit(
    folder: Path,
    *callbacks: pl.Callback,
    resumed: Path | None = None,
    accumulate: int = 1,
    epochs: int = 2,
    kind: type[Model] = Model,
) -> tuple[Model, pl.Trainer]:
    """Trains, from a checkpoint if one is given."""
    model = kind()
    trainer = pl.Trainer(
        default_root_dir=folder,
        accelerator="cpu",
        max_epochs=epochs,
        accumulate_grad_batches=accumulate,
        num_sanity_val_steps=0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        plugins=[AtomicCheckpointIO()],
        callbacks=list(callbacks),
    )
    data = DataLoader(torch.zeros(BATCHES, 1))
    trainer.fit(model, data, DataLoader(torch.zeros(1, 1)), ckpt_path=resumed)
    return model, trainer


class SaveAt(pl.Callback):
    """Writes a checkpoint behind a batch of the first epoch."""

    def __init__(self, path: Path, batch: int) -> None:
        self.path, self.batch = path, batch

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if (trainer.current_epoch, batch_idx) == (0, self.batch):
            trainer.save_checkpoint(self.path)
