"""Puts the encodings of the model's fields into every checkpoint."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

import pytorch_lightning as pl

from distill.encodings import PackedEncodings, SavedEncodings
from distill.training.carried import ENCODINGS, as_carried


class CarriedEncodings(pl.Callback):
    """Adds what `distill.training.carried` reads; the files are read once.

    Args:
        root: Folder that holds their files.
        saved: Of the fields that the models of the checkpoint read.
    """

    def __init__(self, root: Path, saved: SavedEncodings) -> None:
        self.root = root
        self.saved = saved

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Adds them, on the rank that writes."""
        if trainer.is_global_zero:
            checkpoint[ENCODINGS] = self._carried

    @cached_property
    def _carried(self) -> dict[str, Any]:
        return as_carried(PackedEncodings.read(self.root, self.saved))
