"""A mistyped metric is noticed at the first validation, with the names of those that there are."""

from __future__ import annotations

import pytorch_lightning as pl

from distill.errors import ConfigError


class CheckMonitor(pl.Callback):
    """Says which metrics there are when the monitored one is not among them.

    Args:
        monitor: Name of the metric that early stopping and the best checkpoint go by.
    """

    def __init__(self, monitor: str) -> None:
        self.monitor = monitor

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Looks for the metric after a validation.

        Raises:
            ConfigError: It is not there.
        """
        known = sorted(name for name in trainer.callback_metrics if name.startswith("val/"))
        if self.monitor not in known:
            raise ConfigError(
                "The monitored metric is not measured.",
                where="callbacks.monitor",
                expected=", ".join(known),
                found=self.monitor,
            )
