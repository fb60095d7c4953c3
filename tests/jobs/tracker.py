"""A tracker of experiments that keeps what it is told in a file, and needs no package."""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers import Logger

from distill.training.loggers import FitWandb


class FileTracker(FitWandb):
    """Takes the place of Weights & Biases: `tracked/<role>.jsonl`, a line for each call."""

    def __init__(self, folder: Path, role: str) -> None:
        Logger.__init__(self)  # not that of W&B, which wants its package
        self.file = folder / "tracked" / f"{role}.jsonl"

    @property
    def experiment(self) -> Any:
        """None: the client of the package that is not there."""
        return None

    @property
    def name(self) -> str:
        """As Lightning wants it."""
        return "tracked"

    @property
    def version(self) -> str:
        """As Lightning wants it."""
        return self.file.stem

    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """Keeps none."""

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Writes a line."""
        self.file.parent.mkdir(exist_ok=True)
        with self.file.open("a", encoding="utf-8") as file:
            file.write(json.dumps({name: float(value) for name, value in metrics.items()}) + "\n")

    def after_save_checkpoint(self, checkpoint_callback: Any) -> None:
        """Keeps none."""

    def finalize(self, status: str) -> None:
        """Has nothing open."""
