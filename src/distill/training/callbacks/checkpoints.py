"""The two checkpoints of a fit: the best by the monitored metric, and the last, from which it goes on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from torch import Tensor


class BestCheckpoint(ModelCheckpoint):
    """Keeps `best.ckpt`; a validation whose metric is not finite is never the best, not even as the first.

    A folder that was moved goes on as if it had always been where it is.

    Args:
        folder: Where the checkpoint is written.
        monitor: The metric.
        mode: max | min.
    """

    def __init__(self, folder: Path, monitor: str, mode: str) -> None:
        super().__init__(dirpath=folder, filename="best", monitor=monitor, mode=mode, enable_version_counter=False)

    def check_monitor_top_k(self, trainer: pl.Trainer, current: Tensor | None = None) -> bool:
        """Whether the metric is better than before; all ranks agree, since they see the same value."""
        if current is None or not bool(torch.isfinite(current)):
            return False
        return bool(super().check_monitor_top_k(trainer, current))

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Goes on with the paths of the folder as it is now."""
        paths = ("best_model_path", "kth_best_model_path", "last_model_path")
        moved = {name: self._here(state_dict[name]) for name in paths if state_dict.get(name)}
        best = {self._here(path): value for path, value in state_dict["best_k_models"].items()}
        super().load_state_dict({**state_dict, **moved, "best_k_models": best, "dirpath": self.dirpath})

    def _here(self, path: str) -> str:
        return str(Path(str(self.dirpath)) / Path(path).name)


class LastCheckpoint(ModelCheckpoint):
    """Writes `last.ckpt`, from which resuming starts: every epoch, whether it was better or not, or every n steps.

    It keeps no state of its own in the checkpoint, so that a run may go on with another n.

    Args:
        folder: Where the checkpoint is written.
        every_n_steps: Steps between two; None writes one an epoch.
    """

    def __init__(self, folder: Path, every_n_steps: int | None = None) -> None:
        super().__init__(
            dirpath=folder,
            filename="last",
            every_n_train_steps=every_n_steps,
            every_n_epochs=1 if every_n_steps is None else None,
            enable_version_counter=False,
        )

    def state_dict(self) -> dict[str, Any]:
        """Nothing."""
        return {}
