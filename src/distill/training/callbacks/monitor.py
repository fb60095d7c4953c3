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
        validation_metric(trainer, self.monitor, "callbacks.monitor")


def validation_metric(trainer: pl.Trainer, name: str, where: str) -> float:
    """Returns a metric of the last validation.

    Args:
        trainer: After a validation.
        name: Of the metric.
        where: The config key that names it, for the error.

    Raises:
        ConfigError: It is not measured.
    """
    known = sorted(known for known in trainer.callback_metrics if known.startswith("val/"))
    if name not in known:
        raise ConfigError("The monitored metric is not measured.", where=where, expected=", ".join(known), found=name)
    return float(trainer.callback_metrics[name])
