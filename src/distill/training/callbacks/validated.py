"""A checkpoint says how its model did on the validation split."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytorch_lightning as pl

_KEY = "distill_validation"


class Validated(pl.Callback):
    """Writes the metrics of the last validation into each checkpoint; `best.ckpt` is written after its own."""

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Adds all metrics whose name begins with `val/`."""
        checkpoint[_KEY] = {name: float(v) for name, v in trainer.callback_metrics.items() if name.startswith("val/")}


def validation_of(checkpoint: Mapping[str, Any]) -> dict[str, float]:
    """Returns the validation metrics of a checkpoint; none if it was written without."""
    return dict(checkpoint.get(_KEY, {}))
