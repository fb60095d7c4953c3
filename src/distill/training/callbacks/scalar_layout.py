"""A layout of TensorBoard's custom scalars, so that terms and metrics need no clicking together."""

from __future__ import annotations

import pytorch_lightning as pl
from pytorch_lightning.loggers import TensorBoardLogger

# Category → chart → tags as regular expressions, over all runs that are shown.
LAYOUT = {
    "training": {
        "loss and its terms": ["Multiline", [r"train/loss.*"]],
        "weights of the terms": ["Multiline", [r"train/weight_.*"]],
    },
    "validation": {
        "AUC": ["Multiline", [r"val/.*/auc"]],
        "GAUC": ["Multiline", [r"val/.*/gauc"]],
        "log loss": ["Multiline", [r"val/.*/logloss"]],
        "calibration (PCOC)": ["Multiline", [r"val/.*/pcoc"]],
        "agreement with the teacher": ["Multiline", [r"val/teacher_.*"]],
    },
}


class ScalarLayout(pl.Callback):
    """Writes the layout when training starts."""

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Writes it into the event file of every TensorBoard logger."""
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger) and trainer.is_global_zero:
                logger.experiment.add_custom_scalars(LAYOUT)
